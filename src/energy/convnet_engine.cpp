#include <ATen/ATen.h>
#include <omp.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <type_traits>
#include <unordered_map>

#include "config/error.hpp"
#include "energy/elementwise.hpp"
#include "energy/gradient_engine.hpp"

namespace stanley {
namespace {

using dnnl::memory;

/// States of one pass through the network: so few that all activations stay in a core's cache.
constexpr std::int64_t block_size = 8;

/// One convolution of the block with its weights in the layouts that oneDNN prefers.
struct Convolution {
  ConvolutionLayer layer;
  dnnl::convolution_forward forward;
  dnnl::convolution_backward_data backward;
  memory::desc input, output, scratch_forward, scratch_backward;
  memory weights_forward, weights_backward, bias;
};

/// What one thread needs for one block; allocated once.
template <typename Element>
struct Workspace {
  std::vector<Element> input;                           // [block, height, width, channel]
  std::vector<std::vector<Element>> value, derivative;  // of each hidden layer's output
  std::vector<float> taps;                              // see backward_input()
  std::vector<std::byte> scratch;
};

/// The engine stores activations as Element, channels last. Backward through the state alone:
/// hidden layer i's value buffer is reused for its gradient.
template <typename Element>
class ConvnetEngine : public GradientEngine {
 public:
  ConvnetEngine(const EnergyConfig& config, const StateShape& shape)
      : config_(config), shape_(shape), engine_(dnnl::engine::kind::cpu, 0) {
    const std::vector<ConvolutionLayer> layers = convnet_layers(config.channels, shape);
    // The last layer is a scalar product for each state: no convolution is set up for it.
    for (std::size_t i = 0; i + 1 < layers.size(); ++i) add_convolution(layers[i], i > 0);
    last_ = layers.back();
    tap_columns_ = (shape[0] * 9 + 15) / 16 * 16;
  }

  void load(const std::vector<at::Tensor>& weights) override {
    for (std::size_t i = 0; i < convolutions_.size(); ++i) {
      load_convolution(convolutions_[i], weights[2 * i], weights[2 * i + 1], i > 0);
    }
    const auto to_vector = [](const at::Tensor& tensor) {
      const at::Tensor flat = tensor.detach().contiguous().flatten();
      return std::vector<float>(flat.const_data_ptr<float>(),
                                flat.const_data_ptr<float>() + flat.numel());
    };
    const std::size_t last = 2 * convolutions_.size();
    last_weight_ = to_vector(weights[last].detach().permute({0, 2, 3, 1}));
    last_bias_ = to_vector(weights[last + 1])[0];
    // First layer, backward: row = filter, column = (channel, y, x) of the kernel.
    tap_weight_.assign(static_cast<std::size_t>(config_.channels * tap_columns_), 0.0F);
    const std::vector<float> first = to_vector(weights[0]);
    const std::int64_t taps = shape_[0] * 9;
    for (std::int64_t filter = 0; filter < config_.channels; ++filter) {
      std::copy_n(first.begin() + filter * taps, taps, tap_weight_.begin() + filter * tap_columns_);
    }
  }

  void evaluate(const at::Tensor& state, at::Tensor& energy, at::Tensor& gradient) override {
    const std::int64_t count = state.size(0), elements = element_count(shape_);
    const auto* in = state.const_data_ptr<float>();
    auto* energies = energy.mutable_data_ptr<float>();
    auto* gradients = gradient.mutable_data_ptr<float>();
    const std::int64_t blocks = (count + block_size - 1) / block_size;
    const int threads = static_cast<int>(std::min<std::int64_t>(omp_get_max_threads(), blocks));
    while (workspaces_.size() < static_cast<std::size_t>(threads)) add_workspace();
#pragma omp parallel for num_threads(threads) schedule(static)
    for (std::int64_t block = 0; block < blocks; ++block) {
      const std::int64_t first = block * block_size;
      evaluate_block(workspaces_[static_cast<std::size_t>(omp_get_thread_num())],
                     std::min(block_size, count - first), in + first * elements, energies + first,
                     gradients + first * elements);
    }
  }

  bool batch_invariant() const override { return true; }

  std::string description() const override {
    return std::is_same_v<Element, float> ? "oneDNN float32" : "oneDNN bfloat16";
  }

 private:
  using Arguments = std::unordered_map<int, memory>;

  static constexpr memory::data_type element_type() {
    return std::is_same_v<Element, float> ? memory::data_type::f32 : memory::data_type::bf16;
  }

  void add_convolution(const ConvolutionLayer& layer, bool backward) {
    using tag = memory::format_tag;
    Convolution result;
    result.layer = layer;
    const memory::dims stride{layer.stride, layer.stride}, padding{layer.padding, layer.padding};
    result.input = {
        {block_size, layer.in, layer.in_height, layer.in_width}, element_type(), tag::nhwc};
    result.output = {
        {block_size, layer.out, layer.out_height, layer.out_width}, element_type(), tag::nhwc};
    const memory::desc filter{
        {layer.out, layer.in, layer.kernel_height, layer.kernel_width}, element_type(), tag::any};
    const memory::desc bias{{layer.out}, memory::data_type::f32, tag::a};
    // What the strides leave over on the far side of an odd image is not padded.
    const memory::dims far{
        (layer.out_height - 1) * layer.stride + layer.kernel_height - layer.in_height -
            layer.padding,
        (layer.out_width - 1) * layer.stride + layer.kernel_width - layer.in_width - layer.padding};
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::convolution_forward::primitive_desc forward(
        {dnnl::prop_kind::forward_training, dnnl::algorithm::convolution_direct, result.input,
         filter, bias, result.output, stride, padding, far},
        attributes, engine_);
    result.forward = dnnl::convolution_forward(forward);
    result.weights_forward = memory(forward.weights_desc(), engine_);
    result.scratch_forward = forward.scratchpad_desc();
    result.bias = memory(bias, engine_);
    if (backward) {
      const dnnl::convolution_backward_data::primitive_desc backward_data(
          {dnnl::algorithm::convolution_direct, result.input, filter, result.output, stride,
           padding, far},
          attributes, engine_, forward);
      result.backward = dnnl::convolution_backward_data(backward_data);
      result.weights_backward = memory(backward_data.weights_desc(), engine_);
      result.scratch_backward = backward_data.scratchpad_desc();
    }
    scratch_size_ = std::max({scratch_size_, result.scratch_forward.get_size(),
                              backward ? result.scratch_backward.get_size() : 0});
    convolutions_.push_back(std::move(result));
  }

  void load_convolution(Convolution& convolution, const at::Tensor& weight, const at::Tensor& bias,
                        bool backward) {
    const at::Tensor filter = weight.detach().contiguous(), shift = bias.detach().contiguous();
    memory source({weight.sizes().vec(), memory::data_type::f32, memory::format_tag::oihw}, engine_,
                  filter.mutable_data_ptr());
    dnnl::stream stream(engine_);
    dnnl::reorder(source, convolution.weights_forward)
        .execute(stream, source, convolution.weights_forward);
    if (backward) {
      dnnl::reorder(source, convolution.weights_backward)
          .execute(stream, source, convolution.weights_backward);
    }
    std::copy_n(shift.const_data_ptr<float>(), shift.numel(),
                static_cast<float*>(convolution.bias.get_data_handle()));
    stream.wait();
  }

  void add_workspace() {
    Workspace<Element> workspace;
    workspace.input.resize(static_cast<std::size_t>(block_size * element_count(shape_)));
    for (const Convolution& convolution : convolutions_) {
      const auto size = static_cast<std::size_t>(output_size(convolution.layer) * block_size);
      workspace.value.emplace_back(size);
      workspace.derivative.emplace_back(size);
    }
    workspace.taps.resize(static_cast<std::size_t>(shape_[1] * shape_[2] * tap_columns_));
    workspace.scratch.resize(scratch_size_);
    workspaces_.push_back(std::move(workspace));
  }

  static std::int64_t output_size(const ConvolutionLayer& layer) {
    return layer.out * layer.out_height * layer.out_width;
  }

  /// The first `count` (at most block_size) states; the rest of the block is computed from what
  /// the buffers hold, and dropped.
  void evaluate_block(Workspace<Element>& workspace, std::int64_t count, const float* state,
                      float* energy, float* gradient) {
    load_input(workspace, count, state);
    forward(workspace);
    const std::size_t top = convolutions_.size() - 1;
    const auto features = static_cast<std::int64_t>(last_weight_.size());
    for (std::int64_t i = 0; i < count; ++i) {
      energy[i] = dot(features, &workspace.value[top][static_cast<std::size_t>(i * features)],
                      last_weight_.data()) +
                  last_bias_;
    }
    for (std::int64_t i = 0; i < block_size; ++i) {
      std::transform(last_weight_.begin(), last_weight_.end(),
                     workspace.value[top].begin() + i * features, from_float<Element>);
    }
    for (std::size_t i = top; i > 0; --i) backward(workspace, i);
    backward_activation(workspace, 0);
    for (std::int64_t i = 0; i < count; ++i) {
      backward_input(workspace, i, gradient + i * element_count(shape_));
    }
  }

  /// [n, channel, height, width] to [n, height, width, channel].
  void load_input(Workspace<Element>& workspace, std::int64_t count, const float* state) {
    const std::int64_t channels = shape_[0], pixels = shape_[1] * shape_[2];
    Element* out = workspace.input.data();
    for (std::int64_t i = 0; i < count; ++i) {
      for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
        for (std::int64_t channel = 0; channel < channels; ++channel) {
          *out++ = from_float<Element>(state[(i * channels + channel) * pixels + pixel]);
        }
      }
    }
  }

  void forward(Workspace<Element>& workspace) {
    for (std::size_t i = 0; i < convolutions_.size(); ++i) {
      Convolution& convolution = convolutions_[i];
      std::vector<Element>& output = workspace.value[i];
      Element* input = i == 0 ? workspace.input.data() : workspace.value[i - 1].data();
      run(convolution.forward,
          {{DNNL_ARG_SRC, {convolution.input, engine_, input}},
           {DNNL_ARG_WEIGHTS, convolution.weights_forward},
           {DNNL_ARG_BIAS, convolution.bias},
           {DNNL_ARG_DST, {convolution.output, engine_, output.data()}},
           {DNNL_ARG_SCRATCHPAD,
            {convolution.scratch_forward, engine_, workspace.scratch.data()}}});
      activate_with_derivative(config_.activation, static_cast<float>(config_.slope),
                               static_cast<std::int64_t>(output.size()), output.data(),
                               workspace.derivative[i].data());
    }
  }

  /// From the gradient of layer i's activation to that of its convolution's output, in value[i].
  void backward_activation(Workspace<Element>& workspace, std::size_t i) {
    multiply(static_cast<std::int64_t>(workspace.value[i].size()), workspace.derivative[i].data(),
             workspace.value[i].data());
  }

  /// From the gradient of layer i's activation (in value[i]) to that of layer i−1.
  void backward(Workspace<Element>& workspace, std::size_t i) {
    Convolution& convolution = convolutions_[i];
    std::vector<Element>& output = workspace.value[i];
    backward_activation(workspace, i);
    run(convolution.backward,
        {{DNNL_ARG_DIFF_DST, {convolution.output, engine_, output.data()}},
         {DNNL_ARG_WEIGHTS, convolution.weights_backward},
         {DNNL_ARG_DIFF_SRC, {convolution.input, engine_, workspace.value[i - 1].data()}},
         {DNNL_ARG_SCRATCHPAD, {convolution.scratch_backward, engine_, workspace.scratch.data()}}});
  }

  /// Through the first convolution, to the few channels of the image: oneDNN fills vectors with
  /// channels, which wastes most lanes here. So multiply each pixel's gradient with all 9·channels
  /// kernel columns first, then add up the shifted results.
  void backward_input(Workspace<Element>& workspace, std::int64_t i, float* gradient) {
    const std::int64_t height = shape_[1], width = shape_[2], pixels = height * width;
    const auto offset = static_cast<std::size_t>(i * pixels * config_.channels);
    multiply_rows(pixels, config_.channels, tap_columns_, &workspace.value[0][offset],
                  tap_weight_.data(), workspace.taps.data());
    std::fill_n(gradient, shape_[0] * pixels, 0.0F);
    for (std::int64_t tap = 0; tap < shape_[0] * 9; ++tap) {
      const std::int64_t channel = tap / 9, dy = tap % 9 / 3 - 1, dx = tap % 3 - 1;
      // Filter position (dy, dx) took the image's pixel (y + dy, x + dx) to the output's (y, x).
      for (std::int64_t y = std::max<std::int64_t>(0, -dy); y < std::min(height, height - dy);
           ++y) {
        const std::int64_t x_first = std::max<std::int64_t>(0, -dx);
        const std::int64_t x_last = std::min(width, width - dx);
        const float* taps = &workspace.taps[static_cast<std::size_t>(y * width * tap_columns_)];
        float* row = gradient + channel * pixels + (y + dy) * width + dx;
        for (std::int64_t x = x_first; x < x_last; ++x) row[x] += taps[x * tap_columns_ + tap];
      }
    }
  }

  void run(const dnnl::primitive& primitive, const Arguments& arguments) {
    dnnl::stream stream(engine_);
    primitive.execute(stream, arguments);
    stream.wait();
  }

  EnergyConfig config_;
  StateShape shape_;
  dnnl::engine engine_;
  std::vector<Convolution> convolutions_;
  std::size_t scratch_size_ = 0;
  std::vector<Workspace<Element>> workspaces_;  // one for each thread
  ConvolutionLayer last_;
  std::vector<float> last_weight_;  // [height, width, channel]
  float last_bias_ = 0;
  std::int64_t tap_columns_ = 0;
  std::vector<float> tap_weight_;  // [filter, tap_columns_]
};

}  // namespace

std::unique_ptr<GradientEngine> make_convnet_engine(const EnergyConfig& config,
                                                    const StateShape& shape, Precision precision) {
  if (precision == Precision::bfloat16) {
    return std::make_unique<ConvnetEngine<Bfloat16>>(config, shape);
  }
  return std::make_unique<ConvnetEngine<float>>(config, shape);
}

}  // namespace stanley
