#pragma once

#include <cstddef>
#include <vector>

#include "energy/plan.hpp"
#include "kernels/convolution_shape.hpp"

namespace at {
class Tensor;
}

/// The one convolution that an engine computes for a layer of a plan, from f(z of the layer before)
/// to z. A mean over 2×2 pixels after a convolution of 3×3 makes one of 4×4 and stride 2 of it, and
/// may go before the skip connection's of 1×1.
namespace stanley {

ConvolutionShape computed_shape(const Layer& layer);

/// That of the layer's skip connection: of the means.
ConvolutionShape computed_skip_shape(const Plan& plan, std::size_t layer);

/// Its weight, and its bias with the skip connection's, of Network::weights().
at::Tensor computed_weight(const Layer& layer, const std::vector<at::Tensor>& weights);
at::Tensor computed_bias(const Layer& layer, const std::vector<at::Tensor>& weights);

/// From a gradient with respect to the computed weight to that of the network's.
at::Tensor gradient_as_network(const Layer& layer, const at::Tensor& gradient);

/// The weights of a convolution's adjoint, of filters [filters, channels, kernel, kernel]:
/// [stride, stride, channels, kernel / stride, kernel / stride, filters]. For input pixels whose y
/// and x leave these remainders, the weights of the outputs that they reach, in the order of
/// ConvolutionShape::first_tap().
at::Tensor adjoint_weight(const at::Tensor& filters, std::int64_t stride);

}  // namespace stanley
