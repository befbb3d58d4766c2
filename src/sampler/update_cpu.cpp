#include <algorithm>
#include <cstdint>
#include <span>

#include "energy/instruction_sets.hpp"
#include "energy/loop_threads.hpp"
#include "random/normal.hpp"
#include "random/random.hpp"
#include "sampler/update.hpp"
#include "sampler/update_element.hpp"

// The functions marked STANLEY_CLONES give the same bits in all instruction sets: what they inline
// has explicit fused multiply-adds only.

namespace stanley {
namespace {

using detail::between, detail::diffused, detail::drifted, detail::gain_of, detail::into_box;
using random::block_elements;

/// Blocks that one vectorised loop makes at once, and the elements that they serve.
constexpr std::int64_t lanes = 16;
constexpr std::int64_t group = lanes * block_elements;

/// One chain's rows of the arrays.
struct Chain {
  std::uint32_t id;
  std::int64_t dimension;
  const float* gradient;
  const float* gain;
  float threshold;
  float* state;
};

enum class Gain { one, given, threshold };

/// xi[i] ← the normal of element first + i, for one group.
STANLEY_INLINE void normal_group(random::Key key, std::uint32_t id, std::uint64_t step,
                                 std::int64_t first, float* xi) {
  const auto first_block = static_cast<std::uint32_t>(first / block_elements);
#pragma GCC ivdep
  for (std::uint32_t lane = 0; lane < lanes; ++lane) {
    const random::Normals numbers = random::normals(key, id, step, first_block + lane);
    xi[4 * lane] = numbers.value[0];
    xi[4 * lane + 1] = numbers.value[1];
    xi[4 * lane + 2] = numbers.value[2];
    xi[4 * lane + 3] = numbers.value[3];
  }
}

STANLEY_INLINE void uniform_group(random::Key key, std::uint32_t id, std::uint64_t step,
                                  std::int64_t first, float* u) {
  const auto first_block = static_cast<std::uint32_t>(first / block_elements);
#pragma GCC ivdep
  for (std::uint32_t lane = 0; lane < lanes; ++lane) {
    const random::Words words = random::block(key, id, step, first_block + lane);
    u[4 * lane] = random::to_uniform(words.value[0]);
    u[4 * lane + 1] = random::to_uniform(words.value[1]);
    u[4 * lane + 2] = random::to_uniform(words.value[2]);
    u[4 * lane + 3] = random::to_uniform(words.value[3]);
  }
}

/// Moves `count` elements from `first` on; xi holds their noise.
template <bool has_gradient, Gain kind, bool has_noise>
STANLEY_INLINE void update_group(const Update& update, const Chain& chain, std::int64_t first,
                                 std::int64_t count, const float* xi) {
  const float half_step = update.half_step;
  const float sigma = update.sigma;
  const float low = update.low;
  const float high = update.high;
  const float threshold = chain.threshold;
  const float* const gradients = chain.gradient + (has_gradient ? first : 0);
  const float* const gains = chain.gain + (kind == Gain::given ? first : 0);
  float* const state = chain.state + first;
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    float gamma = 1.0F;
    if constexpr (kind == Gain::given) {
      gamma = gains[i];
    } else if constexpr (kind == Gain::threshold) {
      gamma = gain_of(threshold, gradients[i]);
    }
    float z = state[i];
    if constexpr (has_gradient) {
      z = drifted(z, half_step, gamma, gradients[i]);
    }
    if constexpr (has_noise) {
      z = diffused(z, sigma, gamma, xi[i]);
    }
    state[i] = into_box(z, low, high);
  }
}

template <bool has_gradient, Gain kind, bool has_noise>
STANLEY_INLINE void update_groups(const Update& update, const Chain& chain) {
  const std::uint64_t step = detail::step_of(update);
  alignas(64) float xi[group];
  for (std::int64_t first = 0; first < chain.dimension; first += group) {
    if constexpr (has_noise) {
      normal_group(update.key, chain.id, step, first, xi);
    }
    const std::int64_t count = std::min(group, chain.dimension - first);
    update_group<has_gradient, kind, has_noise>(update, chain, first, count, xi);
  }
}

template <bool has_gradient, Gain kind>
STANLEY_INLINE void update_groups(const Update& update, const Chain& chain) {
  if (update.sigma != 0.0F) {
    update_groups<has_gradient, kind, true>(update, chain);
  } else {
    update_groups<has_gradient, kind, false>(update, chain);
  }
}

STANLEY_CLONES void update_chain(const Update& update, const Chain& chain) {
  if (chain.gradient == nullptr && chain.gain == nullptr) {
    update_groups<false, Gain::one>(update, chain);
  } else if (chain.gradient == nullptr) {
    update_groups<false, Gain::given>(update, chain);
  } else if (chain.gain != nullptr) {
    update_groups<true, Gain::given>(update, chain);
  } else if (chain.threshold != 0.0F) {
    update_groups<true, Gain::threshold>(update, chain);
  } else {
    update_groups<true, Gain::one>(update, chain);
  }
}

STANLEY_CLONES void fill_normal_chain(random::Key key, std::uint32_t id, std::uint64_t step,
                                      std::int64_t dimension, float scale, float* out) {
  alignas(64) float xi[group];
  for (std::int64_t first = 0; first < dimension; first += group) {
    normal_group(key, id, step, first, xi);
    const std::int64_t count = std::min(group, dimension - first);
    for (std::int64_t i = 0; i < count; ++i) {
      out[first + i] = scale * xi[i];
    }
  }
}

STANLEY_CLONES void fill_uniform_chain(random::Key key, std::uint32_t id, std::uint64_t step,
                                       std::int64_t dimension, float low, float high, float* out) {
  alignas(64) float u[group];
  for (std::int64_t first = 0; first < dimension; first += group) {
    uniform_group(key, id, step, first, u);
    const std::int64_t count = std::min(group, dimension - first);
    for (std::int64_t i = 0; i < count; ++i) {
      out[first + i] = between(low, high, u[i]);
    }
  }
}

/// Calls work(row, id) for each id, on several threads where that pays.
template <class Work>
void for_each_chain(std::span<const std::int64_t> ids, std::int64_t dimension, const Work& work) {
  const auto n = static_cast<std::int64_t>(ids.size());
  const bool worth_threads = n * dimension > 4096;
#pragma omp parallel for num_threads(loop_threads()) schedule(static) if (worth_threads)
  for (std::int64_t row = 0; row < n; ++row) {
    work(row, static_cast<std::uint32_t>(ids[static_cast<std::size_t>(row)]));
  }
}

}  // namespace

void update_cpu(const Update& update, std::span<const std::int64_t> ids, std::int64_t dimension,
                const float* gradient, const float* gain, const float* threshold, float* state) {
  detail::check_gains(gradient, gain, threshold);
  for_each_chain(ids, dimension, [&](std::int64_t row, std::uint32_t id) {
    const std::int64_t begin = row * dimension;
    update_chain(update, {.id = id,
                          .dimension = dimension,
                          .gradient = gradient != nullptr ? gradient + begin : nullptr,
                          .gain = gain != nullptr ? gain + begin : nullptr,
                          .threshold = threshold != nullptr ? threshold[row] : 0.0F,
                          .state = state + begin});
  });
}

void fill_normal_cpu(random::Key key, std::span<const std::int64_t> ids, std::uint64_t step,
                     std::int64_t dimension, float scale, float* out) {
  for_each_chain(ids, dimension, [=](std::int64_t row, std::uint32_t id) {
    fill_normal_chain(key, id, step, dimension, scale, out + row * dimension);
  });
}

void fill_uniform_cpu(random::Key key, std::span<const std::int64_t> ids, std::uint64_t step,
                      std::int64_t dimension, float low, float high, float* out) {
  for_each_chain(ids, dimension, [=](std::int64_t row, std::uint32_t id) {
    fill_uniform_chain(key, id, step, dimension, low, high, out + row * dimension);
  });
}

}  // namespace stanley
