#pragma once

#include "config/error.hpp"
#include "kernels/chain_update.hpp"
#include "random/normal.hpp"

/// What a pass over the elements of chains does to each of them, the same on the CPU
/// (vectors/chain_update.cpp: a thread a chain) and on a GPU (chain_update_cuda.cu: a thread for
/// each random block).
///
/// A rule is called with the element's z, gradient and gain, those that it `reads` (0 for others),
/// and the random number that it `draws` there; what it returns is stored. It knows its chain's own
/// numbers, and may be copied.
namespace stanley::detail {

/// γ = th/max(th, |g|); 1 where th = 0.
STANLEY_HOST_DEVICE float gain_of(float threshold, float gradient) {
  const float size = fabsf(gradient);
  const float larger = size > threshold ? size : threshold;
#if defined(__CUDA_ARCH__)
  const float gain = __fdiv_rn(threshold, larger);
#else
  const float gain = threshold / larger;
#endif
  return threshold == 0.0F ? 1.0F : gain;
}

/// Into [low, high]; NaN passes through, and an infinity becomes NaN, as ∞ − ∞ is, which no face
/// can hide. Two selections rather than a nested one: a vectoriser can't evaluate a comparison that
/// the language leaves out.
STANLEY_HOST_DEVICE float into_box(float z, float low, float high) {
  z -= z - z;  // 0 of every finite number; the sign of a zero stays
  const float above = z < low ? low : z;
  return above > high ? high : above;
}

/// z − half_step·γ·g
STANLEY_HOST_DEVICE float drifted(float z, float half_step, float gain, float gradient) {
  return random::detail::fused(-(half_step * gain), gradient, z);
}

/// z + sigma·√γ·ξ
STANLEY_HOST_DEVICE float diffused(float z, float sigma, float gain, float xi) {
  return random::detail::fused(sigma * random::detail::square_root(gain), xi, z);
}

/// low + (high − low)·u
STANLEY_HOST_DEVICE float between(float low, float high, float u) {
  return random::detail::fused(high - low, u, low);
}

enum class Draws { none, normal, uniform };
enum class Gain { one, given, threshold };

struct Reads {
  bool state, gradient, gain;
};

/// z ← box(z − half_step·γ∘gradient + sigma·√γ∘ξ).
template <bool has_gradient, Gain kind, bool has_noise>
struct Move {
  static constexpr Reads reads{true, has_gradient, kind == Gain::given};
  static constexpr Draws draws = has_noise ? Draws::normal : Draws::none;
  float half_step, sigma, threshold, low, high;

  STANLEY_HOST_DEVICE float operator()(float z, float gradient, float gain, float xi) const {
    float gamma = kind == Gain::given ? gain : 1.0F;
    if constexpr (kind == Gain::threshold) gamma = gain_of(threshold, gradient);
    if constexpr (has_gradient) z = drifted(z, half_step, gamma, gradient);
    if constexpr (has_noise) z = diffused(z, sigma, gamma, xi);
    return into_box(z, low, high);
  }
};

/// scale·ξ
struct FillNormal {
  static constexpr Reads reads{};
  static constexpr Draws draws = Draws::normal;
  float scale;

  STANLEY_HOST_DEVICE float operator()(float, float, float, float xi) const { return scale * xi; }
};

/// Uniform in [low, high].
struct FillUniform {
  static constexpr Reads reads{};
  static constexpr Draws draws = Draws::uniform;
  float low, high;

  STANLEY_HOST_DEVICE float operator()(float, float, float, float u) const {
    return between(low, high, u);
  }
};

/// Where an update of chains gets what it needs.
struct MoveSources {
  bool gradient, gain, threshold, noise;
};

template <bool has_gradient, Gain kind, class Pass>
inline __attribute__((always_inline)) void with_noise_or_none(bool noise, const Pass& pass) {
  if (noise) {
    pass(Move<has_gradient, kind, true>{});
  } else {
    pass(Move<has_gradient, kind, false>{});
  }
}

/// Calls pass(rule) with the Move of these sources; its numbers are still to be filled in.
template <class Pass>
inline __attribute__((always_inline)) void with_move(const MoveSources& given, const Pass& pass) {
  if (given.gradient && given.threshold) {
    with_noise_or_none<true, Gain::threshold>(given.noise, pass);
  } else if (given.gradient && given.gain) {
    with_noise_or_none<true, Gain::given>(given.noise, pass);
  } else if (given.gradient) {
    with_noise_or_none<true, Gain::one>(given.noise, pass);
  } else if (given.gain) {
    with_noise_or_none<false, Gain::given>(given.noise, pass);
  } else {
    with_noise_or_none<false, Gain::one>(given.noise, pass);
  }
}

/// The step whose random numbers an update takes.
STANLEY_HOST_DEVICE std::uint64_t step_of(const Update& update) {
  const std::int64_t* const first = update.first_step;
  return update.step + (first == nullptr ? 0 : static_cast<std::uint64_t>(*first));
}

/// What stands at row `i`, or the one that all rows share.
STANLEY_HOST_DEVICE float of_row(const float* of_rows, std::int64_t i, float of_all) {
  return of_rows == nullptr ? of_all : of_rows[i];
}

inline void check_gains(const float* gradient, const float* gain, const float* threshold) {
  if (gain != nullptr && threshold != nullptr) {
    throw Error(ExitCode::bug, "a chain update was given both a gain and a threshold");
  }
  if (threshold != nullptr && gradient == nullptr) {
    throw Error(ExitCode::bug, "a chain update was given a threshold without a gradient");
  }
}

}  // namespace stanley::detail
