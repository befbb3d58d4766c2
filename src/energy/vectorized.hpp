#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

// A kernel is compiled for three instruction sets, and the widest one that the processor has is
// taken at run time. The first two fuse multiplications with additions. What is a loop is left to
// the compiler, with this before the function:
#define STANLEY_VECTORIZED \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("O3")))
// and what is written in vectors goes through with_vectors() below.
#define STANLEY_ALWAYS_INLINE __attribute__((always_inline))
#define STANLEY_INLINE inline STANLEY_ALWAYS_INLINE

namespace stanley {

/// Vectors of `floats` floats, and of as many integers. Best as many as one of the processor's
/// registers holds: a compiler that has to split longer ones keeps them in memory, but for plain
/// arithmetic.
template <int floats>
struct Vectors;
// Attributes that depend on a template's parameter get lost, so each length is written out.
#define STANLEY_VECTORS(floats)                                                                    \
  template <>                                                                                      \
  struct Vectors<floats> {                                                                         \
    typedef float Lanes __attribute__((vector_size(4 * floats), aligned(4), may_alias));           \
    typedef std::int32_t Integers __attribute__((vector_size(4 * floats), aligned(4), may_alias)); \
  };
STANLEY_VECTORS(8)
STANLEY_VECTORS(16)
STANLEY_VECTORS(32)
STANLEY_VECTORS(64)
#undef STANLEY_VECTORS
template <int floats>
using Lanes = typename Vectors<floats>::Lanes;

/// The vector that starts at this address.
template <int floats>
STANLEY_INLINE const Lanes<floats>& at(const float* address) {
  return *reinterpret_cast<const Lanes<floats>*>(address);
}
template <int floats>
STANLEY_INLINE Lanes<floats>& at(float* address) {
  return *reinterpret_cast<Lanes<floats>*>(address);
}

/// The length of a vector as a function's argument.
template <int floats>
using Floats = std::integral_constant<int, floats>;

namespace detail {

template <typename Kernel>
__attribute__((target("arch=x86-64-v4"), optimize("O3"))) void run_v4(const Kernel& kernel) {
  kernel(Floats<16>());
}
template <typename Kernel>
__attribute__((target("arch=x86-64-v3"), optimize("O3"))) void run_v3(const Kernel& kernel) {
  kernel(Floats<8>());
}
template <typename Kernel>
__attribute__((optimize("O3"))) void run_plain(const Kernel& kernel) {
  kernel(Floats<8>());
}

}  // namespace detail

/// Calls kernel(floats) with the length of the processor's vectors, a constant. `kernel` is a
/// lambda marked STANLEY_ALWAYS_INLINE, and so are the functions that it calls.
template <typename Kernel>
void with_vectors(const Kernel& kernel) {
  if (__builtin_cpu_supports("x86-64-v4")) return detail::run_v4(kernel);
  if (__builtin_cpu_supports("x86-64-v3")) return detail::run_v3(kernel);
  detail::run_plain(kernel);
}

/// The same for kernel(floats, converts), where `converts` says, as a constant, whether the
/// processor has AVX-512's instructions that round floats to bfloat16.
template <typename Kernel>
void with_bfloat16_vectors(const Kernel& kernel) {
  if (__builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512bf16")) {
    return detail::run_v4([&](auto floats)
                              STANLEY_ALWAYS_INLINE { kernel(floats, std::true_type()); });
  }
  with_vectors([&](auto floats) STANLEY_ALWAYS_INLINE { kernel(floats, std::false_type()); });
}

/// What an image's channels are filled up to a multiple of: whole vectors of any length.
constexpr std::int64_t lanes = 16;

/// `count` rounded up to whole vectors.
constexpr std::int64_t whole_lanes(std::int64_t count) {
  return (count + lanes - 1) / lanes * lanes;
}

/// Zeros that start at a cache line.
template <typename Element>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::int64_t count)
      : lines_((static_cast<std::size_t>(count) * sizeof(Element) + sizeof(Line) - 1) /
               sizeof(Line)) {}

  void clear() { std::fill(lines_.begin(), lines_.end(), Line{}); }

  /// Elements up to the end of the last cache line.
  std::int64_t size() const {
    return static_cast<std::int64_t>(lines_.size() * sizeof(Line) / sizeof(Element));
  }

  Element* data() { return reinterpret_cast<Element*>(lines_.data()); }
  const Element* data() const { return reinterpret_cast<const Element*>(lines_.data()); }

 private:
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<Line> lines_;
};

}  // namespace stanley
