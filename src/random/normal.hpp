#pragma once

#include <cmath>
#include <cstdint>

#include "random/random.hpp"

/// Normal numbers by Box and Muller, in float32, with polynomials of our own: a library's log or
/// sin differs between host, device and vector width. Every product that meets a sum is an explicit
/// fma, and the rest are single products, sums and integers, so that no compiler has anything left
/// to choose: a scalar loop, any vector width and the device give the same bits.
namespace stanley::random {

namespace detail {

STANLEY_HOST_DEVICE float from_bits(std::int32_t bits) {
#if defined(__CUDA_ARCH__)
  return __int_as_float(bits);
#else
  return __builtin_bit_cast(float, bits);
#endif
}

STANLEY_HOST_DEVICE std::int32_t to_bits(float value) {
#if defined(__CUDA_ARCH__)
  return __float_as_int(value);
#else
  return __builtin_bit_cast(std::int32_t, value);
#endif
}

STANLEY_HOST_DEVICE float fused(float a, float b, float c) { return fmaf(a, b, c); }

/// first where `mask` has all bits, second where it has none. Masks, because a compiler moves
/// arithmetic into the arms of a conditional, and such a loop can't be vectorised.
STANLEY_HOST_DEVICE std::int32_t either(std::int32_t mask, std::int32_t first,
                                        std::int32_t second) {
  return (first & mask) | (second & ~mask);
}

/// √x for x = 0 and normal x > 0, within 0.51 units in the last place; NaN stays NaN. The square
/// root of the C library may set errno, which no vectorised loop can.
STANLEY_HOST_DEVICE float square_root(float x) {
  // 1/√x to 3 % from the halved exponent, by two Newton steps to 5e-6, then √x by a third step on
  // its exact residual.
  const std::uint32_t halved = static_cast<std::uint32_t>(to_bits(x)) >> 1;
  float inverse = from_bits(static_cast<std::int32_t>(0x5F3759DFU - halved));
  const float half = 0.5F * x;
  inverse = inverse * fused(-(half * inverse), inverse, 1.5F);
  inverse = inverse * fused(-(half * inverse), inverse, 1.5F);
  const float root = x * inverse;
  return fused(0.5F * inverse, fused(-root, root, x), root);
}

/// −2·log(u) for u = (word + ½)·2^−32; relative error below 2^−22.4. Above u = 2/3 it works on
/// 1 − u, which is exact there, so that small radii keep all of their bits.
STANLEY_HOST_DEVICE float minus_two_log(std::uint32_t word) {
  constexpr std::int32_t two_thirds = 0x55555555;       // of 2^31
  constexpr std::int32_t two_thirds_bits = 0x3F2AAAAB;  // of the float 2/3
  constexpr std::int32_t exponent_mask = -0x00800000;   // sign and exponent
  const std::int32_t top = (two_thirds - static_cast<std::int32_t>(word >> 1)) >> 31;
  const std::uint32_t small = word ^ static_cast<std::uint32_t>(top);
  const float v = fused(static_cast<float>(small), 0x1p-32F, 0x1p-33F);
  // v = 2^e·(1 + f) with 1 + f in [2/3, 4/3), scaled as in the bits of a float: e·2^23.
  const std::int32_t bits = to_bits(v);
  const std::int32_t exponent = (bits - two_thirds_bits) & exponent_mask & ~top;
  const float f = from_bits(either(top, to_bits(-v), to_bits(from_bits(bits - exponent) - 1.0F)));
  // log(1 + f) = f − f²/2 + f³·P(f); P minimax on [−1/3, 1/3], relative error of the sum 5e-9.
  float p = -0x1.080588p-3F;
  p = fused(p, f, 0x1.1e66bcp-3F);
  p = fused(p, f, -0x1.f31140p-4F);
  p = fused(p, f, 0x1.1ed716p-3F);
  p = fused(p, f, -0x1.559dcap-3F);
  p = fused(p, f, 0x1.99d028p-3F);
  p = fused(p, f, -0x1.fffef0p-3F);
  p = fused(p, f, 0x1.555506p-2F);
  p = fused(p, f, -0.5F);
  const float log_of_fraction = fused(p, f * f, f);
  constexpr float log_two_in_bits = 0x1.62e430p-24F;  // log(2)·2^−23
  return -2.0F * fused(static_cast<float>(exponent), log_two_in_bits, log_of_fraction);
}

struct Direction {
  float cosine;
  float sine;
};

/// Cosine and sine of the angle 2π·(word + ½)·2^−32; relative error below 2^−22 each. The turn is
/// reduced to t in (−½, ½) quarter turns in integers, hence exactly.
STANLEY_HOST_DEVICE Direction direction(std::uint32_t word) {
  const std::uint32_t quadrant = (word + 0x20000000U) >> 30;
  const auto rest = static_cast<std::int32_t>(word - (quadrant << 30));
  const float t = fused(static_cast<float>(rest), 0x1p-30F, 0x1p-31F);
  const float s = t * t;
  // sin(πt/2)/t and (cos(πt/2) − 1)/t², minimax in s = t² on [0, 1/4]: errors 3e-9 and 6e-11.
  float sine = -0x1.2d9302p-8F;
  sine = fused(sine, s, 0x1.465e92p-4F);
  sine = fused(sine, s, -0x1.4abbbap-1F);
  sine = fused(sine, s, 0x1.921fb6p+0F) * t;
  float cosine = 0x1.d9d57ep-11F;
  cosine = fused(cosine, s, -0x1.55c5e0p-6F);
  cosine = fused(cosine, s, 0x1.03c1dep-2F);
  cosine = fused(cosine, s, -0x1.3bd3ccp+0F);
  cosine = fused(cosine, s, 1.0F);
  const std::int32_t odd = -static_cast<std::int32_t>(quadrant & 1U);
  const auto minus_cosine = static_cast<std::int32_t>(((quadrant + 1U) & 2U) << 30);  // 1 and 2
  const auto minus_sine = static_cast<std::int32_t>((quadrant & 2U) << 30);           // 2 and 3
  return {from_bits(either(odd, to_bits(sine), to_bits(cosine)) ^ minus_cosine),
          from_bits(either(odd, to_bits(cosine), to_bits(sine)) ^ minus_sine)};
}

}  // namespace detail

/// Four numbers of the standard normal law.
struct Normals {
  float value[block_elements];
};

/// Box and Muller on the word pairs (0, 1) and (2, 3): √(−2·log u₁)·(cos, sin)(2π·u₂). The error
/// against the same formula in exact arithmetic is below 1e-6 absolutely and 4e-7 relatively. A
/// radius has 2^32 values: no number lies beyond √(66·log 2) = 6.76 (the true law: 1 in 7e10).
STANLEY_HOST_DEVICE Normals to_normals(const Words& words) {
  const detail::Direction first = detail::direction(words.value[1]);
  const detail::Direction second = detail::direction(words.value[3]);
  const float near = detail::square_root(detail::minus_two_log(words.value[0]));
  const float far = detail::square_root(detail::minus_two_log(words.value[2]));
  return {{near * first.cosine, near * first.sine, far * second.cosine, far * second.sine}};
}

/// The four normals of one block.
STANLEY_HOST_DEVICE Normals normals(Key key, std::uint32_t id, std::uint64_t step,
                                    std::uint32_t block_index) {
  return to_normals(block(key, id, step, block_index));
}

/// The normal of one element.
STANLEY_HOST_DEVICE float normal(Key key, std::uint32_t id, std::uint64_t step,
                                 std::uint32_t element = 0) {
  return normals(key, id, step, element / block_elements).value[element % block_elements];
}

}  // namespace stanley::random
