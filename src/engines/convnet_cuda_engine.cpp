#ifdef STANLEY_CUDA

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>

#include "energy/operation_times.hpp"
#include "engines/computed_layer.hpp"
#include "engines/factory.hpp"
#include "engines/torch_layer.hpp"
#include "kernels/convolution_cuda.hpp"

namespace stanley {
namespace {

constexpr std::int64_t input_channels = 8;  // those that a state lacks are zero

Bfloat16* pointer(const at::Tensor& tensor) {
  return static_cast<Bfloat16*>(tensor.mutable_data_ptr());
}

/// Each layer is one kernel on the way forward and one on the way back; buffers come anew from
/// LibTorch's cache, or from a recorded graph's own.
class ConvnetCudaEngine : public GradientEngine {
 public:
  ConvnetCudaEngine(const Plan& plan, at::Device device)
      : plan_(plan), options_(at::TensorOptions(device).dtype(at::kBFloat16)) {
    for (const Layer& layer : plan.layers) layers_.push_back({.shape = computed_shape(layer)});
    layers_[0].shape.channels = input_channels;
  }

  void load(const std::vector<at::Tensor>& weights) override {
    const c10::NoGradGuard no_gradient;
    const at::TensorOptions floats = options_.dtype(at::kFloat);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      Kernels& layer = layers_[i];
      const std::int64_t lacking = layer.shape.channels - weights[2 * i].size(1);
      const at::Tensor filters = at::constant_pad_nd(weights[2 * i], {0, 0, 0, 0, 0, lacking});
      copy_to(layer.forward, filters, options_);  // channels last
      copy_to(layer.backward, adjoint_weight(filters, layer.shape.stride), options_);
      copy_to(layer.bias, weights[2 * i + 1], floats);
    }
    copy_to(top_, weights[2 * layers_.size()], floats);
    copy_to(top_bias_, weights.back(), floats);
  }

  void evaluate(const Points& points, at::Tensor& energy, at::Tensor* gradient) override {
    const c10::NoGradGuard no_gradient;
    const c10::cuda::CUDAGuard guard(options_.device());
    CUstream_st* const stream = c10::cuda::getCurrentCUDAStream().stream();
    const std::int64_t images = points.state.size(0);
    at::Tensor value = load(points.state, stream);
    std::vector<at::Tensor> derivatives;
    for (const Kernels& layer : layers_) {
      derivatives.emplace_back();
      value = forward(layer, images, value, derivatives.back(), stream);
    }
    {
      const Timed timed(Operation::output);
      const at::Tensor energies = at::empty({images}, options_.dtype(at::kFloat));
      evaluate_top_cuda(pointer(value), top_.const_data_ptr<float>(),
                        top_bias_.const_data_ptr<float>(), images, top_.numel(),
                        pointer(derivatives.back()), energies.mutable_data_ptr<float>(), stream);
      energy.copy_(energies);
    }
    if (gradient == nullptr) return;
    for (std::size_t i = layers_.size(); i-- > 0;) {
      const Kernels& layer = layers_[i];
      const Timed timed(layer.operation(), layer.flops(images));
      // A layer's gradient takes the place of the derivatives that it is multiplied with.
      Bfloat16* const below = i > 0 ? pointer(derivatives[i - 1]) : nullptr;
      convolve_cuda({.shape = layer.of(images),
                     .gradient = pointer(derivatives[i]),
                     .weight = pointer(layer.backward),
                     .derivative = below,
                     .out = below,
                     .state_gradient = i > 0 ? nullptr : gradient->mutable_data_ptr<float>(),
                     .state_channels = state_channels()},
                    stream);
    }
  }

  double energy_error() const override { return bfloat16_energy_error; }
  bool batch_invariant() const override { return true; }
  bool repeatable() const override { return true; }

  std::int64_t largest_batch() const override {
    std::int64_t pixels = 1;
    for (const Kernels& layer : layers_) {
      pixels = std::max(pixels, layer.shape.height * layer.shape.width);
    }
    return std::max<std::int64_t>(most_pixels / pixels, 1);
  }

  std::string description() const override { return "fused convolutions bfloat16"; }

 private:
  struct Kernels {
    ConvolutionShape shape;  // of one image
    at::Tensor forward, backward, bias;

    ConvolutionShape of(std::int64_t images) const {
      ConvolutionShape whole = shape;
      whole.images = images;
      return whole;
    }

    Operation operation() const {
      return shape.channels == input_channels && shape.stride == 1 ? Operation::input_convolution
                                                                   : Operation::products;
    }

    /// Of either way.
    double flops(std::int64_t images) const {
      return 2.0 * static_cast<double>(images * shape.output_height() * shape.output_width()) *
             static_cast<double>(forward.numel());
    }
  };

  std::int64_t state_channels() const { return plan_.layers[0].channels; }

  /// The states as images in bfloat16.
  at::Tensor load(const at::Tensor& state, CUstream_st* stream) const {
    const Timed timed(Operation::input_convolution);
    const std::int64_t pixels = plan_.layers[0].height * plan_.layers[0].width;
    const at::Tensor images = at::empty({state.size(0), pixels, input_channels}, options_);
    load_states_cuda(state.const_data_ptr<float>(), state.size(0), state_channels(), pixels,
                     pointer(images), stream);
    return images;
  }

  /// The layer's values, and their derivatives.
  at::Tensor forward(const Kernels& layer, std::int64_t images, const at::Tensor& input,
                     at::Tensor& derivative, CUstream_st* stream) const {
    const Timed timed(layer.operation(), layer.flops(images));
    const ConvolutionShape shape = layer.of(images);
    const at::Tensor value =
        at::empty({images, shape.output_height(), shape.output_width(), shape.filters}, options_);
    derivative = at::empty_like(value);
    convolve_cuda({.shape = shape,
                   .activation = plan_.activation,
                   .slope = static_cast<float>(plan_.slope),
                   .input = pointer(input),
                   .weight = pointer(layer.forward),
                   .bias = layer.bias.const_data_ptr<float>(),
                   .value = pointer(value),
                   .derivative = pointer(derivative)},
                  stream);
    return value;
  }

  Plan plan_;
  at::TensorOptions options_;
  std::vector<Kernels> layers_;  // all but the last
  at::Tensor top_, top_bias_;    // of the last one: [1, channels, height, width] and [1] float32
};

}  // namespace

bool convnet_cuda_engine_serves(const Plan& plan) {
  return !plan.sums && plan.layers[0].channels <= input_channels &&
         std::all_of(plan.layers.begin(), plan.layers.end(), [](const Layer& layer) {
           return !layer.means && !layer.skip && layer.filters % 8 == 0;
         });
}

std::unique_ptr<GradientEngine> make_convnet_cuda_engine(const Plan& plan, at::Device device) {
  return std::make_unique<ConvnetCudaEngine>(plan, device);
}

}  // namespace stanley

#endif
