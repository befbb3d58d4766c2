#include "kernels/chain_update.hpp"

#include <algorithm>

#include "kernels/chain_update_element.hpp"
#include "kernels/vectors.hpp"
#include "random/normal.hpp"

// These give the same bits in all instruction sets: what they inline has explicit fused
// multiply-adds only, and the compiler makes no others of them.

namespace stanley::STANLEY_SET {
namespace {

using detail::between, detail::diffused, detail::drifted, detail::gain_of, detail::into_box;
using random::block_elements;

/// Blocks that one vectorised loop makes at once, and the elements that they serve.
constexpr std::int64_t blocks_at_once = 16;
constexpr std::int64_t group = blocks_at_once * block_elements;

enum class Gain { one, given, threshold };

/// xi[i] ← the normal of element first + i, for one group.
STANLEY_INLINE void normal_group(random::Key key, std::uint32_t id, std::uint64_t step,
                                 std::int64_t first, float* xi) {
  const auto first_block = static_cast<std::uint32_t>(first / block_elements);
#pragma GCC ivdep
  for (std::uint32_t lane = 0; lane < blocks_at_once; ++lane) {
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
  for (std::uint32_t lane = 0; lane < blocks_at_once; ++lane) {
    const random::Words words = random::block(key, id, step, first_block + lane);
    u[4 * lane] = random::to_uniform(words.value[0]);
    u[4 * lane + 1] = random::to_uniform(words.value[1]);
    u[4 * lane + 2] = random::to_uniform(words.value[2]);
    u[4 * lane + 3] = random::to_uniform(words.value[3]);
  }
}

/// Moves `count` elements from `first` on; xi holds their noise.
template <bool has_gradient, Gain kind, bool has_noise>
STANLEY_INLINE void update_group(const Update& update, const ChainRows& chain, std::int64_t first,
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
STANLEY_INLINE void update_groups(const Update& update, const ChainRows& chain) {
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
STANLEY_INLINE void update_groups(const Update& update, const ChainRows& chain) {
  if (update.sigma != 0.0F) {
    update_groups<has_gradient, kind, true>(update, chain);
  } else {
    update_groups<has_gradient, kind, false>(update, chain);
  }
}

}  // namespace

void update_chain(const Update& update, const ChainRows& chain) {
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

void fill_normal_chain(random::Key key, std::uint32_t id, std::uint64_t step,
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

void fill_uniform_chain(random::Key key, std::uint32_t id, std::uint64_t step,
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

}  // namespace stanley::STANLEY_SET
