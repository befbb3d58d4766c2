#pragma once

#include <cstdint>

#include "kernels/lanes.hpp"

// What the sources of kernels/vectors/ share. Each of them is compiled once for each instruction
// set, with STANLEY_SET its name, and defines all in that namespace: a function that the linker
// could take for another set's would bring instructions to processors that lack them.
#define STANLEY_INLINE inline __attribute__((always_inline))

namespace stanley::STANLEY_SET {

/// Vectors of n floats, and of as many integers. Best as many as one of the set's registers holds:
/// a compiler that has to split longer ones keeps them in memory, but for plain arithmetic.
template <int n>
struct Vectors;
// Attributes that depend on a template's parameter get lost, so each length is written out.
#define STANLEY_VECTORS(n)                                                                    \
  template <>                                                                                 \
  struct Vectors<n> {                                                                         \
    typedef float Lanes __attribute__((vector_size(4 * n), aligned(4), may_alias));           \
    typedef std::int32_t Integers __attribute__((vector_size(4 * n), aligned(4), may_alias)); \
  };
STANLEY_VECTORS(8)
STANLEY_VECTORS(16)
STANLEY_VECTORS(32)
STANLEY_VECTORS(64)
#undef STANLEY_VECTORS
template <int n>
using LanesOf = typename Vectors<n>::Lanes;

/// Of one register.
#if defined(__AVX512F__)
constexpr int floats = 16;
#else
constexpr int floats = 8;
#endif
using Lanes = Vectors<floats>::Lanes;
using Integers = Vectors<floats>::Integers;

/// The vector that starts at this address.
STANLEY_INLINE const Lanes& at(const float* address) {
  return *reinterpret_cast<const Lanes*>(address);
}
STANLEY_INLINE Lanes& at(float* address) { return *reinterpret_cast<Lanes*>(address); }

/// Turns as many vectors as they have lanes: lane i of vector j becomes lane j of vector i. Swaps
/// squares of `distance` that stand off the diagonal, then those within the squares.
template <int n, int distance = n / 2>
STANLEY_INLINE void transpose(LanesOf<n>* rows) {
  typename Vectors<n>::Integers upper, lower;
  for (int lane = 0; lane < n; ++lane) {
    const bool right = (lane & distance) != 0;
    upper[lane] = right ? n + lane - distance : lane;
    lower[lane] = right ? n + lane : lane + distance;
  }
#pragma GCC unroll 16
  for (int i = 0; i < n; ++i) {
    if ((i & distance) != 0) continue;
    const LanesOf<n> a = rows[i], b = rows[i + distance];
    rows[i] = __builtin_shuffle(a, b, upper);
    rows[i + distance] = __builtin_shuffle(a, b, lower);
  }
  if constexpr (distance > 1) transpose<n, distance / 2>(rows);
}

}  // namespace stanley::STANLEY_SET
