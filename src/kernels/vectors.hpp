#pragma once

#include <cstdint>
#include <utility>

// What the sources of kernels/vectors/ share. Each of them is compiled once for each instruction
// set, with STANLEY_SET its name, and defines all in that namespace: a function that the linker
// could take for another set's would bring instructions to processors that lack them.
#define STANLEY_INLINE inline __attribute__((always_inline))

/// Before a loop whose turns don't wait for one another, whatever their pointers say.
#if defined(__clang__)
#define STANLEY_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define STANLEY_INDEPENDENT _Pragma("GCC ivdep")
#endif

namespace stanley::STANLEY_SET {

/// Vectors of n floats, and of as many integers. Best as many as one of the set's registers holds:
/// a compiler that has to split longer ones keeps them in memory, but for plain arithmetic. In
/// memory that is not the compiler's, where they may stand at any float, they are `Stored`: to be
/// read and written through pointers alone, since a reference may be taken for one to an aligned
/// vector.
template <int n>
struct Vectors;
// Attributes that depend on a template's parameter get lost, so each length is written out.
#define STANLEY_VECTORS(n)                                                                \
  template <>                                                                             \
  struct Vectors<n> {                                                                     \
    typedef float Lanes __attribute__((vector_size(4 * n), may_alias));                   \
    typedef float StoredLanes __attribute__((vector_size(4 * n), aligned(4), may_alias)); \
    typedef std::int32_t Integers __attribute__((vector_size(4 * n), may_alias));         \
    typedef std::int32_t StoredIntegers                                                   \
        __attribute__((vector_size(4 * n), aligned(4), may_alias));                       \
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

using StoredLanes = Vectors<floats>::StoredLanes;
using StoredIntegers = Vectors<floats>::StoredIntegers;

/// A vector of a row.
STANLEY_INLINE const StoredLanes* at(const float* row, int vector = 0) {
  return reinterpret_cast<const StoredLanes*>(row) + vector;
}
STANLEY_INLINE StoredLanes* at(float* row, int vector = 0) {
  return reinterpret_cast<StoredLanes*>(row) + vector;
}

/// to ← those lanes of a and, behind them, of b whose numbers Order::of(0), Order::of(1), ... are.
/// `Of` names the type of the vectors, which a deduced one would lose its alignment of, and one of
/// as many integers.
template <class Order, class Of, int... lane>
STANLEY_INLINE void shuffle(const typename Of::Lanes& a, const typename Of::Lanes& b,
                            typename Of::Lanes& to, std::integer_sequence<int, lane...>) {
#if defined(__clang__) || __GNUC__ >= 12
  to = __builtin_shufflevector(a, b, Order::of(lane)...);
#else
  to = __builtin_shuffle(a, b, typename Of::Integers{Order::of(lane)...});
#endif
}

template <class Order, int n>
STANLEY_INLINE void shuffle(const LanesOf<n>& a, const LanesOf<n>& b, LanesOf<n>& to) {
  shuffle<Order, Vectors<n>>(a, b, to, std::make_integer_sequence<int, n>());
}

/// Of squares of `distance` lanes in two rows of n, which stand so far apart: the upper row when
/// the two off the diagonal change their places, and the lower one.
template <int n, int distance>
struct UpperSquares {
  static constexpr int of(int lane) { return (lane & distance) != 0 ? n + lane - distance : lane; }
};
template <int n, int distance>
struct LowerSquares {
  static constexpr int of(int lane) { return (lane & distance) != 0 ? n + lane : lane + distance; }
};

/// Turns as many vectors as they have lanes: lane i of vector j becomes lane j of vector i. Swaps
/// squares of `distance` that stand off the diagonal, then those within the squares.
template <int n, int distance = n / 2>
STANLEY_INLINE void transpose(LanesOf<n>* rows) {
#pragma GCC unroll 16
  for (int i = 0; i < n; ++i) {
    if ((i & distance) != 0) continue;
    const LanesOf<n> a = rows[i], b = rows[i + distance];
    shuffle<UpperSquares<n, distance>, n>(a, b, rows[i]);
    shuffle<LowerSquares<n, distance>, n>(a, b, rows[i + distance]);
  }
  if constexpr (distance > 1) transpose<n, distance / 2>(rows);
}

}  // namespace stanley::STANLEY_SET
