#pragma once

#include "energy/vectorized.hpp"

namespace stanley {

/// x <- x within ±limit.
template <int floats>
STANLEY_INLINE void clamp(Lanes<floats>& x, float limit) {
  if constexpr (floats <= 16) {
    const Lanes<floats> zero = {}, high = zero + limit, low = zero - limit;
    x = x < high ? x : high;
    x = x > low ? x : low;
  } else {  // the compiler makes no vectors of selections in several registers
    for (int lane = 0; lane < floats; ++lane) {
      const float below = x[lane] < limit ? x[lane] : limit;
      x[lane] = below > -limit ? below : -limit;
    }
  }
}

/// x <- exp(x) to about one unit in the last place: x = n·ln 2 + r, a polynomial in r, times 2ⁿ.
template <int floats>
STANLEY_INLINE void exponential(Lanes<floats>& x) {
  using Integers = typename Vectors<floats>::Integers;
  clamp<floats>(x, 87.0F);
  constexpr float round = 12582912.0F;  // 1.5·2²³: adding it rounds to an integer
  const Lanes<floats> n = (x * 1.44269504F + round) - round;
  const Lanes<floats> r = x - n * 0.693359375F + n * 2.12194440e-4F;
  Lanes<floats> p = 1.9875691500e-4F * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  const Lanes<floats> q = p * r * r + r + 1.0F;
  const Integers exponent = (__builtin_convertvector(n, Integers) + 127) << 23;
  x = q * reinterpret_cast<const Lanes<floats>&>(exponent);
}

/// x <- 1/x for positive normal x, to about one unit in the last place. With AVX-512 (64 floats in
/// four registers) by three of Newton's steps from a guess by the exponent, which cost half of a
/// division there; on a first EPYC, with AVX2, the SiLU takes 0.88 of its time with a division.
template <int floats>
STANLEY_INLINE void reciprocal(Lanes<floats>& x) {
  if constexpr (floats < 64) {
    x = 1.0F / x;
  } else {
    using Integers = typename Vectors<floats>::Integers;
    const Integers guess = 0x7ef311c7 - reinterpret_cast<const Integers&>(x);
    Lanes<floats> r = reinterpret_cast<const Lanes<floats>&>(guess);
    r += r * (1.0F - x * r);
    r += r * (1.0F - x * r);
    r += r * (1.0F - x * r);
    x = r;
  }
}

/// x <- 1/x for normal x, to 2⁻¹⁴ or better.
template <int floats>
STANLEY_INLINE void rough_reciprocal(Lanes<floats>& x) {
  if constexpr (floats == 16) {
    asm("vrcp14ps %0, %0" : "+v"(x));
  } else {
    x = 1.0F / x;
  }
}

/// z <- f(z) and derivative <- f′(z), for f the SiLU z·s(z) with s the logistic function.
template <int floats>
STANLEY_INLINE void silu_with_derivative(Lanes<floats>& z, Lanes<floats>& derivative) {
  Lanes<floats> s = -z;
  exponential<floats>(s);
  s += 1.0F;
  reciprocal<floats>(s);
  const Lanes<floats> y = z * s;
  derivative = y * (1.0F - s) + s;
  z = y;
}

/// The same to about 2⁻¹², for results that are rounded to bfloat16: 2ᵗ by the whole number n next
/// to t, and a polynomial of the third degree in t - n.
template <int floats>
STANLEY_INLINE void rough_silu_with_derivative(Lanes<floats>& z, Lanes<floats>& derivative) {
  using Integers = typename Vectors<floats>::Integers;
  Lanes<floats> t = z * -1.44269504F;
  clamp<floats>(t, 126.0F);
  constexpr float round = 12582912.0F;  // 1.5·2²³: adding it leaves n in the lowest bits
  const Lanes<floats> shifted = t + round, f = t - (shifted - round);
  const Lanes<floats> p =
      ((5.51716690e-02F * f + 2.42611122e-01F) * f + 6.93260985e-01F) * f + 9.99928074e-01F;
  const Integers scaled =
      reinterpret_cast<const Integers&>(p) + (reinterpret_cast<const Integers&>(shifted) << 23);
  Lanes<floats> s = 1.0F + reinterpret_cast<const Lanes<floats>&>(scaled);
  rough_reciprocal<floats>(s);
  const Lanes<floats> y = z * s;
  derivative = (s - y * s) + y;
  z = y;
}

}  // namespace stanley
