#include "engines/adjoint_weight.hpp"

#include <ATen/ATen.h>

namespace stanley {

at::Tensor adjoint_weight(const at::Tensor& filters, std::int64_t stride) {
  const std::int64_t taps = filters.size(2) / stride;
  // Of the flipped filters' rows, remainder r has r, r + stride and so on.
  return filters.flip({2, 3})
      .view({filters.size(0), filters.size(1), taps, stride, taps, stride})
      .permute({3, 5, 1, 2, 4, 0});
}

}  // namespace stanley
