#pragma once

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include "kernels/bfloat16.hpp"
#include "kernels/vectors.hpp"

namespace stanley::STANLEY_SET {

/// The pairs of bfloat16 numbers at vector `vector` of `pairs`, as floats.
STANLEY_INLINE void unpack(const Bfloat16* pairs, int vector, Lanes& first, Lanes& second) {
  const Integers both = reinterpret_cast<const StoredIntegers*>(pairs)[vector];
  const Integers low = both << 16, high = both & -65536;
  first = reinterpret_cast<const Lanes&>(low);
  second = reinterpret_cast<const Lanes&>(high);
}

/// Rounds as from_float<Bfloat16>() does; the result stands in the upper half.
STANLEY_INLINE void round_up(const Lanes& value, Integers& rounded) {
  const Integers bits = reinterpret_cast<const Integers&>(value);
  const Integers sum = bits + 0x7fff + ((bits >> 16) & 1);
  rounded = value == value ? sum : bits | 0x400000;
}

#if defined(__AVX512BF16__)
struct Halves {
  typedef std::uint16_t Lanes __attribute__((vector_size(64), may_alias));
  typedef std::uint16_t StoredLanes __attribute__((vector_size(64), aligned(4), may_alias));
  using Integers = Lanes;
};

/// One of the first 16 halves, one of the second 16, and so on.
struct TakingTurns {
  static constexpr int of(int lane) { return lane / 2 + lane % 2 * 16; }
};
#endif

/// The other way: the numbers of a vector of pairs, each one from `first` and one from `second`.
STANLEY_INLINE void pack(const Lanes& first, const Lanes& second, Bfloat16* pairs, int vector) {
#if defined(__AVX512BF16__)
  const __m512bh both =
      _mm512_cvtne2ps_pbh(static_cast<__m512>(second), static_cast<__m512>(first));
  Halves::Lanes turned;
  const auto& halves = reinterpret_cast<const Halves::Lanes&>(both);
  shuffle<TakingTurns, Halves>(halves, halves, turned, std::make_integer_sequence<int, 32>());
  reinterpret_cast<Halves::StoredLanes*>(pairs)[vector] = turned;
#else
  Integers low, high;
  round_up(first, low);
  round_up(second, high);
  reinterpret_cast<StoredIntegers*>(pairs)[vector] = ((low >> 16) & 0xffff) | (high & -65536);
#endif
}

}  // namespace stanley::STANLEY_SET
