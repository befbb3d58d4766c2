#include "energy/fused_convolution.hpp"

#include <ATen/ATen.h>

namespace stanley {

std::int64_t first_tap(const ConvolutionShape& shape, std::int64_t remainder) {
  // Output row y reaches input row stride·y + k − padding by the filter's row k; the division
  // rounds up, since what is divided is never positive.
  return (remainder + shape.padding - shape.kernel + 1) / shape.stride;
}

at::Tensor backward_weight(const at::Tensor& filters, std::int64_t stride) {
  const std::int64_t taps = filters.size(2) / stride;
  // Of the flipped filters' rows, remainder r has r, r + stride and so on.
  return filters.flip({2, 3})
      .view({filters.size(0), filters.size(1), taps, stride, taps, stride})
      .permute({3, 5, 1, 2, 4, 0});
}

}  // namespace stanley
