#include "energy/tile_pass.hpp"

#include <ATen/ATen.h>

#include <algorithm>

namespace stanley {

TilePass::TilePass(const Plan& plan, bool keeps_images)
    : plan_(plan), input_(plan.state_shape(), plan.layers[0].shape.filters, keeps_images) {}

void TilePass::load_input_and_last(const std::vector<at::Tensor>& weights) {
  input_.load(weights[0], weights[1]);
  // Further channels of an image have no weights.
  const std::int64_t channels = plan_.layers.back().shape.filters;
  const at::Tensor by_channel = weights[plan_.last].detach().reshape({channels, -1}),
                   whole =
                       at::constant_pad_nd(by_channel, {0, 0, 0, whole_tiles(channels) - channels})
                           .t()
                           .contiguous();
  last_weight_ = AlignedBuffer<float>(whole.numel());
  std::copy_n(whole.const_data_ptr<float>(), whole.numel(), last_weight_.data());
  last_bias_ = weights[plan_.last + 1].item<float>();
}

std::vector<ConvolutionShape> TilePass::layers() const {
  std::vector<ConvolutionShape> result{input_.as_convolution()};
  for (std::size_t i = 1; i < plan_.layers.size(); ++i) {
    const Layer& layer = plan_.layers[i];
    result.push_back(whole_tiles(layer.computed()));
    if (layer.skip && layer.skip->convolves()) {
      result.push_back(whole_tiles(plan_.skip_shape(i)));
    }
  }
  return result;
}

std::int64_t TilePass::last_size() const {
  const ConvolutionShape top = plan_.layers.back().computed();
  const std::int64_t pixels = plan_.sums ? 1 : top.output_height() * top.output_width();
  return pixels * whole_tiles(top.filters);
}

std::vector<at::Tensor> TilePass::as_network(const std::vector<TileLayerWeights>& layers,
                                             const at::Tensor& last,
                                             const at::Tensor& last_bias) const {
  std::vector<at::Tensor> result(plan_.last + 2);
  auto next = layers.begin();
  for (std::size_t i = 0; i < plan_.layers.size(); ++i) {
    const Layer& layer = plan_.layers[i];
    const auto& [weight, bias] = *next++;
    result[layer.weight] = i == 0 ? input_.as_network(weight) : layer.as_network(weight);
    result[layer.weight + 1] = bias;
    if (layer.skip && layer.skip->convolves()) {
      result[layer.skip->weight] = (next++)->weight;
      result[layer.skip->weight + 1] = bias;
    }
  }
  const ConvolutionShape top = plan_.layers.back().computed();
  const std::int64_t channels = whole_tiles(top.filters);
  const at::Tensor by_channel = last.view({-1, channels}).t();
  result[plan_.last] =
      plan_.sums ? by_channel.reshape({1, channels})
                 : by_channel.reshape({1, channels, top.output_height(), top.output_width()});
  result[plan_.last + 1] = last_bias;
  return result;
}

}  // namespace stanley
