#include "kernels/chain_update.hpp"

#include <algorithm>

#include "kernels/chain_rules.hpp"
#include "kernels/vectors.hpp"
#include "random/normal.hpp"

// These give the same bits in all instruction sets: what they inline has explicit fused
// multiply-adds only, and the compiler makes no others of them.

namespace stanley::STANLEY_SET {
namespace {

using detail::Draws;
using random::block_elements;

/// Blocks that one vectorised loop makes at once, and the elements that they serve.
constexpr std::int64_t blocks_at_once = 16;
constexpr std::int64_t group = blocks_at_once * block_elements;

/// Whose random numbers, and how many elements.
struct Chain {
  random::Key key;
  std::uint32_t id;
  std::uint64_t step;
  std::int64_t dimension;
};

/// drawn[i] ← the random number of element first + i, for one group.
template <Draws kind>
STANLEY_INLINE void draw_group(const Chain& chain, std::int64_t first, float* drawn) {
  const auto first_block = static_cast<std::uint32_t>(first / block_elements);
  STANLEY_INDEPENDENT
  for (std::uint32_t lane = 0; lane < blocks_at_once; ++lane) {
    random::Normals numbers;
    if constexpr (kind == Draws::normal) {
      numbers = random::normals(chain.key, chain.id, chain.step, first_block + lane);
    } else {
      const random::Words words =
          random::block(chain.key, chain.id, chain.step, first_block + lane);
      numbers.value[0] = random::to_uniform(words.value[0]);
      numbers.value[1] = random::to_uniform(words.value[1]);
      numbers.value[2] = random::to_uniform(words.value[2]);
      numbers.value[3] = random::to_uniform(words.value[3]);
    }
    drawn[4 * lane] = numbers.value[0];
    drawn[4 * lane + 1] = numbers.value[1];
    drawn[4 * lane + 2] = numbers.value[2];
    drawn[4 * lane + 3] = numbers.value[3];
  }
}

/// Adds nothing up.
struct NoSums {
  template <class Rule>
  STANLEY_INLINE void add(const Rule&, std::int64_t, float, float, float) {}
};

/// One chain's sums for the thermometer, of each place in a group on its own: a loop over the
/// places can be vectorised, and the order of additions is that of any vector width.
struct PlaceSums {
  detail::Thermometer thermometer;
  std::int64_t places;  ///< a power of 2
  alignas(64) float of_places[thermometer_sums * group];

  STANLEY_INLINE PlaceSums(const Update& update, std::int64_t dimension)
      : thermometer(detail::thermometer_of(update)), places(group) {
    while (places / 2 >= dimension) places /= 2;
    for (int sum = 0; sum < thermometer_sums; ++sum) {
      std::fill_n(of_places + sum * group, places, 0.0F);
    }
  }

  template <class Rule>
  STANLEY_INLINE void add(const Rule& rule, std::int64_t place, float z, float gradient,
                          float gain) {
    thermometer.add(z, gradient, rule.gamma_of(gradient, gain), of_places + place, group);
  }

  /// Folds the places in halves, and adds what comes out.
  STANLEY_INLINE void add_to(double* sums) {
    for (int sum = 0; sum < thermometer_sums; ++sum) {
      float* const of = of_places + sum * group;
      for (std::int64_t half = places / 2; half > 0; half /= 2) {
        STANLEY_INDEPENDENT
        for (std::int64_t i = 0; i < half; ++i) of[i] += of[i + half];
      }
      sums[sum] += static_cast<double>(of[0]);
    }
  }
};

/// Puts what the rule makes of each element to `out` [dimension]; null: what it does not read.
template <class Rule, class Sums>
STANLEY_INLINE void pass(const Rule& rule, const Chain& chain, const float* gradient,
                         const float* gain, float* out, Sums& sums) {
  alignas(64) float drawn[group];
  for (std::int64_t first = 0; first < chain.dimension; first += group) {
    if constexpr (Rule::draws != Draws::none) draw_group<Rule::draws>(chain, first, drawn);
    const std::int64_t count = std::min(group, chain.dimension - first);
    STANLEY_INDEPENDENT
    for (std::int64_t i = 0; i < count; ++i) {
      float z = 0, g = 0, gamma = 0, number = 0;
      if constexpr (Rule::reads.state) z = out[first + i];
      if constexpr (Rule::reads.gradient) g = gradient[first + i];
      if constexpr (Rule::reads.gain) gamma = gain[first + i];
      if constexpr (Rule::draws != Draws::none) number = drawn[i];
      sums.add(rule, i, z, g, gamma);
      out[first + i] = rule(z, g, gamma, number);
    }
  }
}

}  // namespace

void update_chain(const Update& update, const ChainRows& chain) {
  const Chain of{update.key, chain.id, detail::step_of(update), chain.dimension};
  const detail::MoveSources given{chain.gradient != nullptr, chain.gain != nullptr,
                                  chain.threshold != 0.0F, chain.sigma != 0.0F};
  detail::with_move(given, [&](auto rule) {
    rule.half_step = chain.half_step;
    rule.sigma = chain.sigma;
    rule.threshold = chain.threshold;
    rule.low = update.low;
    rule.high = update.high;
    if constexpr (decltype(rule)::reads.gradient) {
      if (chain.sums != nullptr) {
        PlaceSums sums(update, chain.dimension);
        pass(rule, of, chain.gradient, chain.gain, chain.state, sums);
        return sums.add_to(chain.sums);
      }
    }
    NoSums none;
    pass(rule, of, chain.gradient, chain.gain, chain.state, none);
  });
}

void fill_normal_chain(random::Key key, std::uint32_t id, std::uint64_t step,
                       std::int64_t dimension, float scale, float* out) {
  NoSums none;
  pass(detail::FillNormal{scale}, {key, id, step, dimension}, nullptr, nullptr, out, none);
}

void fill_uniform_chain(random::Key key, std::uint32_t id, std::uint64_t step,
                        std::int64_t dimension, float low, float high, float* out) {
  NoSums none;
  pass(detail::FillUniform{low, high}, {key, id, step, dimension}, nullptr, nullptr, out, none);
}

}  // namespace stanley::STANLEY_SET
