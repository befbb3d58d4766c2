#pragma once

#include <cstdint>

namespace at {
class Tensor;
}

namespace stanley {

/// The weights of a convolution's adjoint, of filters [filters, channels, kernel, kernel]:
/// [stride, stride, channels, kernel / stride, kernel / stride, filters]. For input pixels whose y
/// and x leave these remainders, the weights of the outputs that they reach, in the order of
/// ConvolutionShape::first_tap().
at::Tensor adjoint_weight(const at::Tensor& filters, std::int64_t stride);

}  // namespace stanley
