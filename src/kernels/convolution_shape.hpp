#pragma once

#include <cstdint>

namespace stanley {

/// A square convolution of `images` images height × width with zeros around them.
struct ConvolutionShape {
  std::int64_t images = 1, height, width, channels, filters;
  std::int64_t kernel, stride, padding;

  std::int64_t output_height() const { return (height + 2 * padding - kernel) / stride + 1; }
  std::int64_t output_width() const { return (width + 2 * padding - kernel) / stride + 1; }

  /// The adjoint: input rows q·stride + remainder are reached by kernel / stride output rows from
  /// q + first_tap on, with the filter's rows in falling order.
  std::int64_t first_tap(std::int64_t remainder) const {
    // Output row y reaches input row stride·y + k − padding by the filter's row k; the division
    // rounds up, since what is divided is never positive.
    return (remainder + padding - kernel + 1) / stride;
  }
};

}  // namespace stanley
