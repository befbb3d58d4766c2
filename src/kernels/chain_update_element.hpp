#pragma once

#include "config/error.hpp"
#include "kernels/chain_update.hpp"
#include "random/normal.hpp"

/// The arithmetic of one element, shared by the CPU and the CUDA pass (and the tests).
namespace stanley::detail {

/// γ = th/max(th, |g|) for th > 0.
STANLEY_HOST_DEVICE float gain_of(float threshold, float gradient) {
  const float size = fabsf(gradient);
  const float larger = size > threshold ? size : threshold;
#if defined(__CUDA_ARCH__)
  return __fdiv_rn(threshold, larger);
#else
  return threshold / larger;
#endif
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

/// The step whose random numbers an update takes.
STANLEY_HOST_DEVICE std::uint64_t step_of(const Update& update) {
  const std::int64_t* const first = update.first_step;
  return update.step + (first == nullptr ? 0 : static_cast<std::uint64_t>(*first));
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
