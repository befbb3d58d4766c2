#include "engines/amx/convolution.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cstring>

#include "engines/computed_layer.hpp"

namespace stanley {

void AmxWeights::load(const at::Tensor& weight) {
  const c10::NoGradGuard no_gradient;
  filter_tiles_ = whole_tiles(weight.size(0)) / tile_filters;
  rows_ = static_cast<int>(weight.size(1));
  blocks_ = (weight.size(2) + tile_depth - 1) / tile_depth;
  const at::Tensor whole = at::constant_pad_nd(weight.to(at::kBFloat16),
                                               {0, blocks_ * tile_depth - weight.size(2), 0, 0, 0,
                                                filter_tiles_ * tile_filters - weight.size(0)})
                               .view({filter_tiles_, tile_filters, rows_, blocks_, tile_depth})
                               .permute({0, 2, 3, 1, 4})
                               .contiguous();
  memory_ = AlignedBuffer<Bfloat16>(whole.numel());
  std::memcpy(memory_.data(), whole.const_data_ptr(), whole.nbytes());
}

void AmxWeights::load_bias(const at::Tensor& bias) {
  const c10::NoGradGuard no_gradient;
  const at::Tensor whole = at::constant_pad_nd(bias, {0, whole_tiles(bias.size(0)) - bias.size(0)})
                               .unsqueeze(1)
                               .expand({whole_tiles(bias.size(0)), tile_images})
                               .contiguous();
  bias_ = AlignedBuffer<float>(whole.numel());
  std::memcpy(bias_.data(), whole.const_data_ptr(), whole.nbytes());
}

AmxConvolution::AmxConvolution(const ConvolutionShape& shape) : shape_(whole_tiles(shape)) {}

void AmxConvolution::load(const at::Tensor& weight, const at::Tensor& bias) {
  const c10::NoGradGuard no_gradient;
  // Rounded first: what follows moves half of the bytes.
  const at::Tensor filters = at::constant_pad_nd(
      weight.to(at::kBFloat16),
      {0, 0, 0, 0, 0, shape_.channels - weight.size(1), 0, shape_.filters - weight.size(0)});
  // A row's taps and their channels in the order in which the pixels stand in memory.
  forward_.load(filters.permute({0, 2, 3, 1})
                    .reshape({shape_.filters, shape_.kernel, shape_.kernel * shape_.channels}));
  if (bias.defined()) forward_.load_bias(bias);
  // In memory as the adjoint will be, but for its taps: strides of whole filters are slow.
  const at::Tensor by_channel = filters.transpose(0, 1)
                                    .contiguous()
                                    .contiguous(at::MemoryFormat::ChannelsLast)
                                    .transpose(0, 1);
  const at::Tensor adjoint = adjoint_weight(by_channel, shape_.stride);
  const std::int64_t taps = shape_.kernel / shape_.stride;
  for (std::int64_t part = 0; part < shape_.stride * shape_.stride; ++part) {
    backward_[part].load(adjoint[part / shape_.stride][part % shape_.stride].reshape(
        {shape_.channels, taps, taps * shape_.filters}));
  }
}

}  // namespace stanley
