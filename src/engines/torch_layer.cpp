#include "engines/torch_layer.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <type_traits>
#include <utility>

#ifdef STANLEY_CUDA
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

#include "config/error.hpp"
#include "energy/operation_times.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/fused_elementwise.hpp"
#include "kernels/loop_threads.hpp"

namespace stanley {
namespace {

template <typename Element>
Element* pointer(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<Element*>(tensor.mutable_data_ptr()) : nullptr;
}

/// Runs the pass that make(Element{}) returns for the tensors' type, on their GPU.
template <typename Make>
void run_pass(const at::Tensor& like, const Make& make) {
  const auto run = [&]([[maybe_unused]] const auto& pass) {
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

/// Calls work(first, count) for blocks of whole rows, which stay in the innermost cache, on several
/// threads where that pays.
template <typename Work>
void for_each_block(std::int64_t elements, std::int64_t row, const Work& work) {
  constexpr std::int64_t size = 4096, worth_threads = 16384;
  const std::int64_t block = std::max<std::int64_t>(1, size / row) * row;
#pragma omp parallel for num_threads(loop_threads()) schedule(static) if (elements > worth_threads)
  for (std::int64_t first = 0; first < elements; first += block) {
    work(first, std::min(block, elements - first));
  }
}

template <typename Element>
void add_and_activate_on_cpu(const EnergyConfig& config, const at::Tensor& bias,
                             const at::Tensor& skip, const at::Tensor& z, const at::Tensor& value,
                             const at::Tensor& derivative) {
  constexpr bool copies = std::is_same_v<Element, Bfloat16>;
  const std::int64_t channels = z.size(1);
  for_each_block(z.numel(), channels, [&](std::int64_t first, std::int64_t count) {
    const auto size = static_cast<std::size_t>(copies ? 4 * count : 0);
    const auto room = std::make_unique_for_overwrite<float[]>(size);
    // The block's floats where they lie; those of bfloat16 in a copy.
    auto floats = [&, next = room.get()](const at::Tensor& tensor) mutable {
      auto* const at = pointer<Element>(tensor) + first;
      if constexpr (copies) {
        widen(count, at, next);
        return std::exchange(next, next + count);
      } else {
        return at;
      }
    };
    const auto store = [&](const float* from, const at::Tensor& tensor) {
      if constexpr (copies) narrow(count, from, pointer<Element>(tensor) + first);
    };
    float *const sum = floats(z), *const slope = floats(derivative);
    float* const f = value.defined() ? floats(value) : sum;
    add_bias(count / channels, channels, pointer<float>(bias), sum);
    if (skip.defined()) add(count, floats(skip), sum);
    if (f != sum) std::copy_n(sum, count, f);
    activate_floats(config.activation, static_cast<float>(config.slope), count, f, slope);
    store(sum, z);
    if (f != sum) store(f, value);
    store(slope, derivative);
  });
}

void multiply_and_add_on_cpu(const at::Tensor& gradient, const at::Tensor& derivative,
                             const at::Tensor& skip, Skip kind) {
  if (kind == Skip::none) {
    gradient.mul_(derivative);
    return;
  }
  const at::Tensor product = gradient.to(at::kFloat) * derivative;
  if (kind == Skip::same) {
    product.add_(skip);
  } else {  // the last row and the last column of an odd size are in no square
    const std::int64_t height = 2 * skip.size(2), width = 2 * skip.size(3);
    product.narrow(2, 0, height)
        .narrow(3, 0, width)
        .add_(at::upsample_nearest2d(skip.to(at::kFloat), {height, width}), 0.25);
  }
  gradient.copy_(product);
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
  if (z.is_cpu()) {
    const auto pass = z.scalar_type() == at::kFloat ? add_and_activate_on_cpu<float>
                                                    : add_and_activate_on_cpu<Bfloat16>;
    return pass(config, bias, skip, z, value, derivative);
  }
  run_pass(z, [&](auto element) {
    using Element = decltype(element);
    const bool keeps = value.defined();
    return FusedActivation<Element>{
        .activation = config.activation,
        .slope = static_cast<float>(config.slope),
        .pixels = z.numel() / z.size(1),
        .channels = z.size(1),
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
  const Skip kind = !skip.defined()                    ? Skip::none
                    : skip.sizes() == gradient.sizes() ? Skip::same
                                                       : Skip::halved;
  if (gradient.is_cpu()) return multiply_and_add_on_cpu(gradient, derivative, skip, kind);
  const bool are_images = gradient.dim() == 4;
  run_pass(gradient, [&](auto element) {
    using Element = decltype(element);
    return FusedDerivative<Element>{
        .images = gradient.size(0),
        .height = are_images ? gradient.size(2) : 1,
        .width = are_images ? gradient.size(3) : 1,
        .channels = gradient.size(1),
        .gradient = pointer<Element>(gradient),
        .derivative = pointer<Element>(derivative),
        .kind = kind,
        .skip = pointer<Element>(skip),
        .out = pointer<Element>(gradient),
    };
  });
}

}  // namespace stanley
