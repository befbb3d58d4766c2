#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "config/error.hpp"
#include "energy/frozen_layer.hpp"
#include "energy/gradient_engine.hpp"
#include "energy/operation_times.hpp"
#include "energy/residual.hpp"

namespace stanley {
namespace {

/// A layer with what follows it: its bias, and the activation.
struct HiddenLayer {
  FrozenLayer layer;
  at::Tensor bias;  // [out] float32
};

/// What the layer-by-layer engines share: states in, gradients out, and the last layer, which makes
/// one number of the top values.
class LayerwiseEngine : public GradientEngine {
 public:
  LayerwiseEngine(const EnergyConfig& config, const StateShape& shape, Precision precision,
                  at::Device device)
      : config_(config),
        shape_(shape),
        options_(at::TensorOptions(device).dtype(precision == Precision::bfloat16 ? at::kBFloat16
                                                                                  : at::kFloat)) {}

  void evaluate(const at::Tensor& state, at::Tensor& energy, at::Tensor& gradient) override {
    const c10::NoGradGuard no_gradient;
    const at::Tensor input_gradient = evaluate_input(input_of(state), energy);
    gradient.copy_(of_images() ? input_gradient.narrow(1, 0, shape_[0])
                               : input_gradient.view(gradient.sizes()));
  }

  bool batch_invariant() const override { return false; }
  bool repeatable() const override { return true; }

  std::string description() const override {
    return options_.dtype() == at::kBFloat16 ? "layer by layer bfloat16" : "layer by layer float32";
  }

 protected:
  /// Fills energy [n]; the gradient with respect to `input`.
  virtual at::Tensor evaluate_input(const at::Tensor& input, at::Tensor& energy) = 0;

  void load_hidden(HiddenLayer& hidden, const at::Tensor& weight, const at::Tensor& bias) const {
    load_layer(hidden.layer, weight);
    copy_to(hidden.bias, bias, options_.dtype(at::kFloat));
  }

  void load_layer(FrozenLayer& layer, const at::Tensor& weight) const {
    layer.load(weight, options_);
  }

  /// The first layer's weight, for an input with the channels that input_of() adds.
  at::Tensor widened(const at::Tensor& weight) const {
    if (!of_images()) return weight;
    return at::constant_pad_nd(weight, {0, 0, 0, 0, 0, input_channels() - shape_[0]});
  }

  /// Energy: the sum of weight ∘ top over all but the batch, and the bias. `weight` has one row.
  void load_last(const at::Tensor& weight, const at::Tensor& bias) {
    copy_to(last_weight_, weight, options_.dtype(at::kFloat));
    copy_to(last_slope_, weight, options_);
    copy_to(last_bias_, bias, options_.dtype(at::kFloat));
  }

  /// Fills `energy` from the top values; the gradient with respect to what was activated to them.
  at::Tensor evaluate_last(const at::Tensor& top, const at::Tensor& derivative,
                           at::Tensor& energy) const {
    const Timed timed(Operation::output);
    std::vector<std::int64_t> dimensions;
    for (std::int64_t i = 1; i < top.dim(); ++i) dimensions.push_back(i);
    energy.copy_(at::sum(top * last_weight_, dimensions) + last_bias_);
    return (derivative * last_slope_).contiguous(layout_of(derivative));
  }

  at::Tensor activate_in_place(const HiddenLayer& hidden, const at::Tensor& z) const {
    const at::Tensor derivative = at::empty_like(z);
    add_and_activate(config_, hidden.bias, {}, z, {}, derivative);
    return derivative;
  }

  EnergyConfig config_;

 private:
  bool of_images() const { return config_.type != EnergyType::mlp; }

  /// In bfloat16 the matrix units of GPUs and processors take eight channels at a time: those that
  /// an image lacks are zero.
  std::int64_t input_channels() const {
    return options_.dtype() == at::kBFloat16 ? (shape_[0] + 7) / 8 * 8 : shape_[0];
  }

  /// The states in the engine's type and layout.
  at::Tensor input_of(const at::Tensor& state) const {
    if (!of_images()) return state.flatten(1).to(options_);
    if (input_channels() == shape_[0]) {
      return state.to(options_).contiguous(at::MemoryFormat::ChannelsLast);
    }
    at::Tensor input = at::empty({state.size(0), input_channels(), shape_[1], shape_[2]}, options_,
                                 at::MemoryFormat::ChannelsLast);
    input.zero_().narrow(1, 0, shape_[0]).copy_(state);
    return input;
  }

  StateShape shape_;
  at::TensorOptions options_;
  at::Tensor last_weight_, last_slope_, last_bias_;  // the weight in float32, and in the type
};

/// Layers one after the other with activations between them: the mlp and the convnet.
class SequentialEngine : public LayerwiseEngine {
 public:
  SequentialEngine(const EnergyConfig& config, const StateShape& shape, Precision precision,
                   at::Device device)
      : LayerwiseEngine(config, shape, precision, device) {
    if (config.type == EnergyType::mlp) {
      for (std::size_t i = 0; i < config.hidden.size(); ++i) {
        layers_.push_back({FrozenLayer::linear(), {}});
      }
      return;
    }
    const std::vector<ConvolutionLayer> layers = convnet_layers(config.channels, shape);
    for (std::size_t i = 0; i + 1 < layers.size(); ++i) {
      layers_.push_back({FrozenLayer::convolution(layers[i].stride, layers[i].padding), {}});
    }
  }

  void load(const std::vector<at::Tensor>& weights) override {
    const c10::NoGradGuard no_gradient;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      load_hidden(layers_[i], i == 0 ? widened(weights[0]) : weights[2 * i], weights[2 * i + 1]);
    }
    load_last(weights[weights.size() - 2], weights.back());
  }

 protected:
  at::Tensor evaluate_input(const at::Tensor& input, at::Tensor& energy) override {
    std::vector<at::Tensor> derivatives;
    at::Tensor value = input;
    for (const HiddenLayer& hidden : layers_) {
      value = hidden.layer.forward(value);
      derivatives.push_back(activate_in_place(hidden, value));
    }
    const at::Tensor top = layers_.empty() ? at::ones_like(input) : derivatives.back();
    at::Tensor gradient = evaluate_last(value, top, energy);
    for (std::size_t i = layers_.size(); i-- > 0;) {
      gradient = layers_[i].layer.backward(gradient, i > 0 ? derivatives[i - 1] : input);
      if (i > 0) multiply_and_add(gradient, derivatives[i - 1], {});
    }
    return gradient;
  }

 private:
  std::vector<HiddenLayer> layers_;  // all but the last
};

/// The resnet. The mean over 2×2 pixels at the end of a block makes one 4×4 convolution of stride 2
/// of the 3×3 one before it, and goes before the 1×1 convolution of the skip connection: 1.6 times
/// fewer products in such a block.
class ResnetEngine : public LayerwiseEngine {
 public:
  ResnetEngine(const EnergyConfig& config, const StateShape& shape, Precision precision,
               at::Device device)
      : LayerwiseEngine(config, shape, precision, device) {
    for (const ResidualBlock& block : resnet_blocks(config, shape)) {
      blocks_.push_back({.halves = block.halves,
                         .second = {FrozenLayer::convolution(block.halves ? 2 : 1, 1), {}}});
    }
  }

  void load(const std::vector<at::Tensor>& weights) override {
    const c10::NoGradGuard no_gradient;
    load_hidden(input_layer_, widened(weights[0]), weights[1]);
    auto weight = weights.begin() + 2;
    for (Block& block : blocks_) {
      load_hidden(block.first, weight[0], weight[1]);
      if (block.halves) {
        // The skip connection's bias goes with the other one.
        load_hidden(block.second, with_mean(weight[2]), weight[3] + weight[5]);
        load_layer(block.skip, weight[4]);
        weight += 6;
      } else {
        load_hidden(block.second, weight[2], weight[3]);
        weight += 4;
      }
    }
    load_last(weight[0].unsqueeze(2).unsqueeze(3), weight[1]);
  }

 protected:
  at::Tensor evaluate_input(const at::Tensor& input, at::Tensor& energy) override {
    std::vector<Kept> kept;
    at::Tensor hidden = input_layer_.layer.forward(input), skip;
    const at::Tensor* bias = &input_layer_.bias;
    for (const Block& block : blocks_) {
      Kept of{.first = at::empty_like(hidden)};
      at::Tensor value = at::empty_like(hidden);
      add_and_activate(config_, *bias, skip, hidden, value, of.first);
      value = block.first.layer.forward(value);
      of.second = activate_in_place(block.first, value);
      of.mean = block.halves ? mean_of_squares(hidden) : at::Tensor();
      skip = block.halves ? block.skip.forward(of.mean) : hidden;
      hidden = block.second.layer.forward(value);
      bias = &block.second.bias;
      kept.push_back(of);
    }
    const at::Tensor derivative = at::empty_like(hidden);
    add_and_activate(config_, *bias, skip, hidden, {}, derivative);
    at::Tensor gradient = evaluate_last(hidden, derivative, energy);
    for (std::size_t i = blocks_.size(); i-- > 0;) {
      gradient = backward(blocks_[i], kept[i], gradient);
    }
    return input_layer_.layer.backward(gradient, input);
  }

 private:
  struct Block {
    bool halves;
    HiddenLayer first{FrozenLayer::convolution(1, 1), {}};
    HiddenLayer second;
    FrozenLayer skip = FrozenLayer::convolution(1, 0);  // where it halves
  };

  /// Of a block, from the way forward.
  struct Kept {
    at::Tensor first, second;  // f′ before the first and before the second convolution
    at::Tensor mean;           // what went through the skip connection's convolution
  };

  static at::Tensor mean_of_squares(const at::Tensor& hidden) {
    return at::avg_pool2d(hidden, 2).contiguous(layout_of(hidden));
  }

  /// From the gradient of a block's output to that of its input.
  static at::Tensor backward(const Block& block, const Kept& of, const at::Tensor& gradient) {
    at::Tensor inner = block.second.layer.backward(gradient, of.second);
    multiply_and_add(inner, of.second, {});
    inner = block.first.layer.backward(inner, of.first);
    multiply_and_add(inner, of.first,
                     block.halves ? block.skip.backward(gradient, of.mean) : gradient);
    return inner;
  }

  HiddenLayer input_layer_{FrozenLayer::convolution(1, 1), {}};
  std::vector<Block> blocks_;
};

}  // namespace

std::unique_ptr<GradientEngine> make_layerwise_engine(const EnergyConfig& config,
                                                      const StateShape& shape, Precision precision,
                                                      at::Device device) {
  switch (config.type) {
    case EnergyType::resnet:
      return std::make_unique<ResnetEngine>(config, shape, precision, device);
    case EnergyType::mlp:
    case EnergyType::convnet:
      return std::make_unique<SequentialEngine>(config, shape, precision, device);
    case EnergyType::torchscript:
      break;
  }
  throw Error(ExitCode::bug, "only the built-in networks are computed layer by layer");
}

}  // namespace stanley
