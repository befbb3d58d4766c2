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
  STANLEY_INLINE void before(const float*, std::int64_t) {}
  template <class Rule>
  STANLEY_INLINE void after(const Rule&, const float*, const float*, const float*, std::int64_t,
                            std::int64_t) {}
};

/// One chain's sums for the thermometer, of each place in a group on its own: a loop over the
/// places can be vectorised, and the order of additions is that of any vector width. The loop is
/// one of its own, since a compiler moves what follows a selection, of the box, into its arms.
struct PlaceSums {
  detail::Thermometer thermometer;
  alignas(64) float of_places[thermometer_sums * group] = {};
  alignas(64) float old[group];

  /// The states of a group, `count` of them, before they move.
  STANLEY_INLINE void before(const float* state, std::int64_t count) {
    std::copy_n(state, count, old);
  }

  /// And after, as elements from `first` on: adds them. `gain` is null where the rule reads none.
  template <class Rule>
  STANLEY_INLINE void after(const Rule& rule, const float* gradient, const float* gain,
                            const float* state, std::int64_t first, std::int64_t count) {
    STANLEY_INDEPENDENT
    for (std::int64_t i = 0; i < count; ++i) {
      const float g = gradient[first + i];
      float given = 0;
      if constexpr (Rule::reads.gain) given = gain[first + i];
      thermometer.add(old[i], g, rule.gamma_of(g, given), state[first + i], of_places + i, group);
    }
  }

  /// Folds the places in halves, and adds what comes out.
  STANLEY_INLINE void add_to(double* sums) {
    for (int sum = 0; sum < thermometer_sums; ++sum) {
      float* const of = of_places + sum * group;
      for (std::int64_t half = group / 2; half > 0; half /= 2) {
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
    sums.before(out + first, count);
    STANLEY_INDEPENDENT
    for (std::int64_t i = 0; i < count; ++i) {
      float z = 0, g = 0, gamma = 0, number = 0;
      if constexpr (Rule::reads.state) z = out[first + i];
      if constexpr (Rule::reads.gradient) g = gradient[first + i];
      if constexpr (Rule::reads.gain) gamma = gain[first + i];
      if constexpr (Rule::draws != Draws::none) number = drawn[i];
      out[first + i] = rule(z, g, gamma, number);
    }
    sums.after(rule, gradient, gain, out, first, count);
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
        PlaceSums sums{detail::thermometer_of(update)};
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
