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

/// x <- exp(−x) to about one unit in the last place: −x = n·ln 2 − r, a polynomial in r, times 2ⁿ.
template <int floats>
STANLEY_INLINE void exponential_of_negative(Lanes<floats>& x) {
  using Integers = typename Vectors<floats>::Integers;
  clamp<floats>(x, 87.0F);
  constexpr float round = 12582912.0F;  // 1.5·2²³: adding it leaves n in the lowest bits
  const Lanes<floats> shifted = x * -1.44269504F + round, n = shifted - round;
  const Lanes<floats> r = x + n * 0.693359375F - n * 2.12194440e-4F;
  // 1 − r + r²·…, whose relative error for |r| ≤ ln 2 / 2 is at most 3.1e-9.
  Lanes<floats> p = 1.381454012e-3F * r - 8.368745149e-3F;
  p = p * r + 4.166839079e-2F;
  p = p * r - 1.666652040e-1F;
  p = p * r + 4.999999343e-1F;
  p = p * r - 1.0F;
  p = p * r + 1.0F;
  const Integers scaled =
      reinterpret_cast<const Integers&>(p) + (reinterpret_cast<const Integers&>(shifted) << 23);
  x = reinterpret_cast<const Lanes<floats>&>(scaled);
}

/// Whether vectors of this length are one or four registers of AVX-512; 8 and 32 floats are those
/// of AVX2.
template <int floats>
constexpr bool in_avx512 = floats == 16 || floats == 64;

/// x <- 1/x for normal x, to 2⁻¹⁴ or better.
template <int floats>
STANLEY_INLINE void rough_reciprocal(Lanes<floats>& x) {
  if constexpr (in_avx512<floats>) {
    auto* registers = reinterpret_cast<Lanes<16>*>(&x);
#pragma GCC unroll 4
    for (int i = 0; i < floats / 16; ++i) asm("vrcp14ps %0, %0" : "+v"(registers[i]));
  } else {
    x = 1.0F / x;
  }
}

/// x <- 1/x for normal x, to about one unit in the last place. AVX-512's division would take longer
/// than half of the SiLU.
template <int floats>
STANLEY_INLINE void reciprocal(Lanes<floats>& x) {
  Lanes<floats> r = x;
  rough_reciprocal<floats>(r);
  if constexpr (in_avx512<floats>) r += r * (1.0F - x * r);  // Newton's step
  x = r;
}

/// z <- f(z) and derivative <- f′(z), for f the SiLU z·s(z) with s the logistic function.
template <int floats>
STANLEY_INLINE void silu_with_derivative(Lanes<floats>& z, Lanes<floats>& derivative) {
  Lanes<floats> s = z;
  exponential_of_negative<floats>(s);
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
