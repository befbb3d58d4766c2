#include "engines/computed_layer.hpp"

#include <ATen/ATen.h>

namespace stanley {
namespace {

/// Filters of 4×4 that do, with stride 2, what these of 3×3 and a mean over 2×2 pixels do.
at::Tensor with_mean(const at::Tensor& weight) {
  // Tap by tap: so short rows as the taps of a filter are slow to go through.
  const std::int64_t out = weight.size(0), in = weight.size(1);
  const at::Tensor taps = weight.reshape({out * in, 9}).t().contiguous().view({3, 3, out, in});
  at::Tensor sum = at::zeros({4, 4, out, in}, weight.options());
  for (std::int64_t y = 0; y < 2; ++y) {
    for (std::int64_t x = 0; x < 2; ++x) sum.narrow(0, y, 3).narrow(1, x, 3).add_(taps, 0.25);
  }
  return sum.permute({2, 3, 0, 1}).contiguous();
}

}  // namespace

ConvolutionShape computed_shape(const Layer& layer) {
  return {.height = layer.height,
          .width = layer.width,
          .channels = layer.channels,
          .filters = layer.filters,
          .kernel = layer.means ? 4 : layer.kernel,
          .stride = layer.means ? 2 : layer.stride,
          .padding = layer.padding};
}

ConvolutionShape computed_skip_shape(const Plan& plan, std::size_t layer) {
  const Layer& reader = plan.layers[layer];
  return {.height = reader.output_height(),
          .width = reader.output_width(),
          .channels = plan.layers[reader.skip->from].filters,
          .filters = reader.filters,
          .kernel = 1,
          .stride = 1,
          .padding = 0};
}

at::Tensor computed_weight(const Layer& layer, const std::vector<at::Tensor>& weights) {
  const at::Tensor of_network = weights[layer.weight].detach();
  return layer.means ? with_mean(of_network) : of_network;
}

at::Tensor computed_bias(const Layer& layer, const std::vector<at::Tensor>& weights) {
  const at::Tensor bias = weights[layer.weight + 1].detach();
  return layer.skip && layer.skip->convolves() ? bias + weights[layer.skip->weight + 1].detach()
                                               : bias;
}

at::Tensor gradient_as_network(const Layer& layer, const at::Tensor& gradient) {
  if (!layer.means) return gradient;
  at::Tensor sum = gradient.narrow(2, 0, 3).narrow(3, 0, 3) * 0.25;
  for (std::int64_t i = 1; i < 4; ++i) {
    sum.add_(gradient.narrow(2, i / 2, 3).narrow(3, i % 2, 3), 0.25);
  }
  return sum.contiguous();
}

at::Tensor adjoint_weight(const at::Tensor& filters, std::int64_t stride) {
  const std::int64_t taps = filters.size(2) / stride;
  // Of the flipped filters' rows, remainder r has r, r + stride and so on.
  return filters.flip({2, 3})
      .view({filters.size(0), filters.size(1), taps, stride, taps, stride})
      .permute({3, 5, 1, 2, 4, 0});
}

}  // namespace stanley
