#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

// A kernel is compiled for three instruction sets, and the widest one that the processor has is
// taken at run time. The first two fuse multiplications with additions, and give the same bits.
#define STANLEY_VECTORIZED \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("O3")))
#define STANLEY_INLINE inline __attribute__((always_inline))

namespace stanley {

/// Sixteen floats; the compiler splits them where registers are narrower.
typedef float Lanes __attribute__((vector_size(64), aligned(4), may_alias));
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

  Element* data() { return reinterpret_cast<Element*>(lines_.data()); }
  const Element* data() const { return reinterpret_cast<const Element*>(lines_.data()); }

 private:
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<Line> lines_;
};

}  // namespace stanley
