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

/// What the thermometer reads, the configurational temperature. f is a function of each element
/// that vanishes on the box's faces with its derivative.
///
/// settled, Σγ·f·∂E / Σγ·f′: a step changes the mean of F = ∫f, constant beyond the faces, by
/// E[f·(−(α/2)·γ·∂E) + f′·γ·σ²/2] to first order in α, and that of settled chains by nothing, so
/// that the ratio is σ²/α = T for any γ; projection moves from where F is constant, to where f = 0.
/// law, Σf·∂E / Σf′: by parts, E[f·∂E] = T·E[f′] under exp(−E/T) (Stein's identity).
///
/// f = y·w² with y = z − centre, w = max(0, 1 − (y/h)²) and h the box's half-width, so that
/// f′ = w·(5w − 4); where no box is, 1/h = 0 and f = z.
struct Thermometer {
  float centre, inverse_half_width;

  /// Adds what one element has of each ThermometerSum, which lie `stride` floats apart.
  STANLEY_HOST_DEVICE void add(float z, float gradient, float gain, float* to,
                               std::int64_t stride) const {
    using random::detail::fused;
    const float y = z - centre, u = y * inverse_half_width;
    // The larger of this and 0 without a comparison, which a compiler makes a branch of.
    const float inside = fused(-u, u, 1.0F), w = 0.5F * (inside + fabsf(inside));
    const float f = y * w * w, rise = fused(5.0F, w, -4.0F);
    add_product(gain * f, gradient, to[settled_virial * stride]);
    add_product(gain * w, rise, to[settled_slope * stride]);
    add_product(f, gradient, to[law_virial * stride]);
    add_product(w, rise, to[law_slope * stride]);
  }

 private:
  static STANLEY_HOST_DEVICE void add_product(float a, float b, float& to) {
    to = random::detail::fused(a, b, to);
  }
};

/// That of a box; of one without two finite faces: as where no box is.
inline __attribute__((always_inline)) Thermometer thermometer_of(const Update& update) {
  constexpr float most = std::numeric_limits<float>::max();
  if (!(update.low >= -most && update.high <= most)) return {0, 0};
  const float half_width = 0.5F * (update.high - update.low);
  return {update.low + half_width, 1.0F / half_width};
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

  STANLEY_HOST_DEVICE float gamma_of(float gradient, float gain) const {
    if constexpr (kind == Gain::threshold) return gain_of(threshold, gradient);
    return kind == Gain::given ? gain : 1.0F;
  }

  STANLEY_HOST_DEVICE float operator()(float z, float gradient, float gain, float xi) const {
    const float gamma = gamma_of(gradient, gain);
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

inline void check_gains(const float* gradient, const float* gain, const float* threshold,
                        const double* sums) {
  if (gain != nullptr && threshold != nullptr) {
    throw Error(ExitCode::bug, "a chain update was given both a gain and a threshold");
  }
  if (threshold != nullptr && gradient == nullptr) {
    throw Error(ExitCode::bug, "a chain update was given a threshold without a gradient");
  }
  if (sums != nullptr && gradient == nullptr) {
    throw Error(ExitCode::bug, "a chain update was given sums without a gradient");
  }
}

}  // namespace stanley::detail
