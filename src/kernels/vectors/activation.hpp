#pragma once

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "kernels/vectors.hpp"

namespace stanley::STANLEY_SET {

/// x <- x within ±limit.
template <int n>
STANLEY_INLINE void clamp(LanesOf<n>& x, float limit) {
  if constexpr (n <= 16) {
    const LanesOf<n> zero = {}, high = zero + limit, low = zero - limit;
    x = x < high ? x : high;
    x = x > low ? x : low;
  } else {  // the compiler makes no vectors of selections in several registers
    for (int lane = 0; lane < n; ++lane) {
      const float below = x[lane] < limit ? x[lane] : limit;
      x[lane] = below > -limit ? below : -limit;
    }
  }
}

/// x <- exp(−x) to about one unit in the last place: −x = m·ln 2 − r, a polynomial in r, times 2ᵐ,
/// with m whole.
template <int n>
STANLEY_INLINE void exponential_of_negative(LanesOf<n>& x) {
  using Bits = typename Vectors<n>::Integers;
  clamp<n>(x, 87.0F);
  constexpr float round = 12582912.0F;  // 1.5·2²³: adding it leaves m in the lowest bits
  const LanesOf<n> shifted = x * -1.44269504F + round, whole = shifted - round;
  const LanesOf<n> r = x + whole * 0.693359375F - whole * 2.12194440e-4F;
  // 1 − r + r²·…, whose relative error for |r| ≤ ln 2 / 2 is at most 3.1e-9.
  LanesOf<n> p = 1.381454012e-3F * r - 8.368745149e-3F;
  p = p * r + 4.166839079e-2F;
  p = p * r - 1.666652040e-1F;
  p = p * r + 4.999999343e-1F;
  p = p * r - 1.0F;
  p = p * r + 1.0F;
  const Bits scaled =
      reinterpret_cast<const Bits&>(p) + (reinterpret_cast<const Bits&>(shifted) << 23);
  x = reinterpret_cast<const LanesOf<n>&>(scaled);
}

/// x <- 1/x for normal x, to 2⁻¹⁴ or better.
template <int n>
STANLEY_INLINE void rough_reciprocal(LanesOf<n>& x) {
#if defined(__AVX512F__)
  auto* values = reinterpret_cast<float*>(&x);
#pragma GCC unroll 4
  for (int i = 0; i < n; i += 16) {
    const __m512 part = _mm512_loadu_ps(values + i);
    _mm512_storeu_ps(values + i, _mm512_maskz_rcp14_ps(0xffff, part));
  }
#else
  x = 1.0F / x;
#endif
}

/// x <- 1/x for normal x, to about one unit in the last place. AVX-512's division would take longer
/// than half of the SiLU.
template <int n>
STANLEY_INLINE void reciprocal(LanesOf<n>& x) {
  LanesOf<n> r = x;
  rough_reciprocal<n>(r);
#if defined(__AVX512F__)
  r += r * (1.0F - x * r);  // Newton's step
#endif
  x = r;
}

/// z <- f(z) and derivative <- f′(z), for f the SiLU z·s(z) with s the logistic function.
template <int n>
STANLEY_INLINE void silu_with_derivative(LanesOf<n>& z, LanesOf<n>& derivative) {
  LanesOf<n> s = z;
  exponential_of_negative<n>(s);
  s += 1.0F;
  reciprocal<n>(s);
  const LanesOf<n> y = z * s;
  derivative = y * (1.0F - s) + s;
  z = y;
}

/// The same to about 2⁻¹², for results that are rounded to bfloat16: 2ᵗ by the whole number n next
/// to t, and a polynomial of the third degree in t - n.
template <int n>
STANLEY_INLINE void rough_silu_with_derivative(LanesOf<n>& z, LanesOf<n>& derivative) {
  using Bits = typename Vectors<n>::Integers;
  LanesOf<n> t = z * -1.44269504F;
  clamp<n>(t, 126.0F);
  constexpr float round = 12582912.0F;  // 1.5·2²³: adding it leaves m in the lowest bits
  const LanesOf<n> shifted = t + round, f = t - (shifted - round);
  const LanesOf<n> p =
      ((5.51716690e-02F * f + 2.42611122e-01F) * f + 6.93260985e-01F) * f + 9.99928074e-01F;
  const Bits scaled =
      reinterpret_cast<const Bits&>(p) + (reinterpret_cast<const Bits&>(shifted) << 23);
  LanesOf<n> s = 1.0F + reinterpret_cast<const LanesOf<n>&>(scaled);
  rough_reciprocal<n>(s);
  const LanesOf<n> y = z * s;
  derivative = (s - y * s) + y;
  z = y;
}

}  // namespace stanley::STANLEY_SET
