#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "energy/instruction_sets.hpp"

// A kernel that is a loop is left to the compiler, with this before the function; one that is
// written in vectors goes through with_vectors() below.
#define STANLEY_VECTORIZED STANLEY_CLONES STANLEY_O3

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

#if defined(STANLEY_X86_64)
template <typename Kernel>
__attribute__((target(STANLEY_V4))) STANLEY_O3 void run_v4(const Kernel& kernel) {
  kernel(Floats<16>());
}
template <typename Kernel>
__attribute__((target(STANLEY_V3))) STANLEY_O3 void run_v3(const Kernel& kernel) {
  kernel(Floats<8>());
}
#endif
template <typename Kernel>
STANLEY_O3 void run_plain(const Kernel& kernel) {
  kernel(Floats<8>());
}

}  // namespace detail

/// Calls kernel(floats) with the length of the processor's vectors, a constant. `kernel` is a
/// lambda marked STANLEY_ALWAYS_INLINE, and so are the functions that it calls.
template <typename Kernel>
void with_vectors(const Kernel& kernel) {
#if defined(STANLEY_X86_64)
  if (instruction_set() == InstructionSet::v4) return detail::run_v4(kernel);
  if (instruction_set() == InstructionSet::v3) return detail::run_v3(kernel);
#endif
  detail::run_plain(kernel);
}

/// The same for kernel(floats, converts), where `converts` says, as a constant, whether the
/// processor has AVX-512's instructions that round floats to bfloat16.
template <typename Kernel>
void with_bfloat16_vectors(const Kernel& kernel) {
#if defined(STANLEY_X86_64)
  if (rounds_to_bfloat16()) {
    return detail::run_v4([&](auto floats)
                              STANLEY_ALWAYS_INLINE { kernel(floats, std::true_type()); });
  }
#endif
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
