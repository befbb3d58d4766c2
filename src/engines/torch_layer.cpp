#include "engines/torch_layer.hpp"

#include <ATen/ATen.h>

#ifdef STANLEY_CUDA
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

#include "config/error.hpp"
#include "energy/operation_times.hpp"

namespace stanley {
namespace {

template <typename Element>
Element* pointer(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<Element*>(tensor.mutable_data_ptr()) : nullptr;
}

/// Runs the pass that make(Element{}) returns for the tensors' type, on their device.
template <typename Make>
void run_pass(const at::Tensor& like, const Make& make) {
  const auto run = [&](const auto& pass) {
    if (like.is_cpu()) return run_fused_cpu(pass);
#ifdef STANLEY_CUDA
    const c10::cuda::CUDAGuard guard(like.device());
    run_fused_cuda(pass, c10::cuda::getCurrentCUDAStream().stream());
#else
    throw Error(ExitCode::bug, "a layer is on a GPU, but this binary was built without CUDA");
#endif
  };
  if (like.scalar_type() == at::kBFloat16) {
    run(make(Bfloat16{}));
  } else {
    run(make(float{}));
  }
}

struct Extents {
  std::int64_t images, height, width, channels;
};

Extents extents_of(const at::Tensor& batch) {
  if (batch.dim() == 2) return {batch.size(0), 1, 1, batch.size(1)};
  return {batch.size(0), batch.size(2), batch.size(3), batch.size(1)};
}

}  // namespace

at::MemoryFormat layout_of(const at::Tensor& batch) {
  return batch.dim() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

void copy_to(at::Tensor& target, const at::Tensor& source, const at::TensorOptions& options) {
  if (!target.defined()) target = at::empty(source.sizes(), options, layout_of(source));
  target.copy_(source);
}

void TorchLayer::load(const at::Tensor& weight, const at::TensorOptions& options) {
  copy_to(weight_, weight, options);
}

double TorchLayer::flops(std::int64_t positions) const {
  return 2.0 * static_cast<double>(positions) * static_cast<double>(weight_.numel());
}

at::Tensor TorchLayer::forward(const at::Tensor& input) const {
  const auto side = [&](std::int64_t dimension) {
    return stride_ == 0 ? 1
                        : (input.size(dimension) + 2 * padding_ - weight_.size(2)) / stride_ + 1;
  };
  const Timed timed(Operation::products, flops(input.size(0) * side(-2) * side(-1)));
  if (stride_ == 0) return at::mm(input, weight_.t());
  if (input.is_cpu() && input.scalar_type() == at::kBFloat16 && input.size(3) < 4) {
    // LibTorch 2.11's bfloat16 convolutions of 4×4 on AMX read beyond images of two columns.
    return at::conv2d(input.to(at::kFloat), weight_.to(at::kFloat), {}, stride_, padding_)
        .to(at::kBFloat16, false, false, layout_of(input));
  }
  return at::conv2d(input, weight_, {}, stride_, padding_).contiguous(layout_of(input));
}

at::Tensor TorchLayer::backward(const at::Tensor& gradient, const at::Tensor& like) const {
  const Timed timed(Operation::products, flops(gradient.numel() / weight_.size(0)));
  if (stride_ == 0) return at::mm(gradient, weight_);
  const std::int64_t stride[] = {stride_, stride_}, padding[] = {padding_, padding_};
  const std::int64_t one[] = {1, 1}, zero[] = {0, 0};
  // Of `like` it takes the shape and the layout alone: weights get no gradient.
  return std::get<0>(at::convolution_backward(gradient, like, weight_, at::OptionalIntArrayRef(),
                                              stride, padding, one, false, zero, 1,
                                              {true, false, false}))
      .contiguous(layout_of(like));
}

void add_and_activate(const EnergyConfig& config, const at::Tensor& bias, const at::Tensor& skip,
                      const at::Tensor& z, const at::Tensor& value, const at::Tensor& derivative) {
  const Timed timed(Operation::activations);
  const Extents extents = extents_of(z);
  run_pass(z, [&](auto element) {
    using Element = decltype(element);
    const bool keeps = value.defined();
    return FusedActivation<Element>{
        .activation = config.activation,
        .slope = static_cast<float>(config.slope),
        .pixels = extents.images * extents.height * extents.width,
        .channels = extents.channels,
        .z = pointer<Element>(z),
        .bias = bias.const_data_ptr<float>(),
        .skip = pointer<Element>(skip),
        .hidden = keeps ? pointer<Element>(z) : nullptr,
        .value = keeps ? pointer<Element>(value) : pointer<Element>(z),
        .derivative = pointer<Element>(derivative),
    };
  });
}

void multiply_and_add(const at::Tensor& gradient, const at::Tensor& derivative,
                      const at::Tensor& skip) {
  const Timed timed(Operation::multiplications);
  const Extents extents = extents_of(gradient);
  const Skip kind = !skip.defined()                    ? Skip::none
                    : skip.sizes() == gradient.sizes() ? Skip::same
                                                       : Skip::halved;
  run_pass(gradient, [&](auto element) {
    using Element = decltype(element);
    return FusedDerivative<Element>{
        .images = extents.images,
        .height = extents.height,
        .width = extents.width,
        .channels = extents.channels,
        .gradient = pointer<Element>(gradient),
        .derivative = pointer<Element>(derivative),
        .kind = kind,
        .skip = pointer<Element>(skip),
        .out = pointer<Element>(gradient),
    };
  });
}

}  // namespace stanley
