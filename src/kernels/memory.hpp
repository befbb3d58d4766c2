#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace stanley {

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
