#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <utility>

#include "config/error.hpp"
#include "energy/operation_times.hpp"
#include "engines/computed_layer.hpp"
#include "engines/factory.hpp"
#include "engines/torch_layer.hpp"

namespace stanley {
namespace {

/// A layer with what is added to what it makes, from an earlier one.
struct ComputedLayer {
  TorchLayer product;
  at::Tensor bias{};                                // [out] float32
  TorchLayer skip = TorchLayer::convolution(1, 0);  // where the skip connection has one
};

/// What the way back needs of a layer.
struct Kept {
  at::Tensor z;           // where a later layer adds it
  at::Tensor derivative;  // f′(z)
  at::Tensor mean;        // what the skip connection's convolution reads
  at::Tensor gradient;    // with respect to z
};

/// A plan's layers, or the mlp's, one after the other.
class LayerwiseEngine : public GradientEngine {
 public:
  LayerwiseEngine(const EnergyConfig& config, const StateShape& shape, const Plan* plan,
                  Precision precision, at::Device device)
      : config_(config),
        shape_(shape),
        options_(at::TensorOptions(device).dtype(precision == Precision::bfloat16 ? at::kBFloat16
                                                                                  : at::kFloat)),
        images_(plan != nullptr),
        plan_(plan ? *plan : Plan{}) {
    for (const Layer& layer : plan_.layers) {
      const ConvolutionShape shape_of = computed_shape(layer);
      layers_.push_back({TorchLayer::convolution(shape_of.stride, shape_of.padding)});
    }
    if (images_) return;
    layers_.resize(config.hidden.size(), {TorchLayer::linear()});
    plan_.layers.resize(layers_.size());
    for (std::size_t i = 0; i < layers_.size(); ++i) plan_.layers[i].weight = 2 * i;
  }

  void load(const std::vector<at::Tensor>& weights) override {
    const c10::NoGradGuard no_gradient;
    const at::TensorOptions floats = options_.dtype(at::kFloat);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const Layer& layer = plan_.layers[i];
      const at::Tensor weight = computed_weight(layer, weights);
      layers_[i].product.load(i == 0 && images_ ? widened(weight) : weight, options_);
      copy_to(layers_[i].bias, computed_bias(layer, weights), floats);
      if (convolves(i)) layers_[i].skip.load(weights[layer.skip->weight], options_);
    }
    const at::Tensor& last = weights[weights.size() - 2];
    load_last(plan_.sums ? last.unsqueeze(2).unsqueeze(3) : last, weights.back());
  }

  void evaluate(const Points& points, at::Tensor& energy, at::Tensor* gradient) override {
    const c10::NoGradGuard no_gradient;
    const at::Tensor input = input_of(points.state);
    std::vector<Kept> kept(layers_.size());
    at::Tensor value = input;
    for (std::size_t i = 0; i < layers_.size(); ++i) value = forward(i, value, kept);
    evaluate_last(value, energy);
    if (gradient == nullptr) return;
    const at::Tensor of_input = backward(input, kept);
    gradient->copy_(images_ ? of_input.narrow(1, 0, shape_[0]) : of_input.view(gradient->sizes()));
  }

  double energy_error() const override {
    return options_.dtype() == at::kBFloat16 ? bfloat16_energy_error : float32_energy_error;
  }

  bool batch_invariant() const override { return false; }
  bool repeatable() const override { return true; }

  std::string description() const override {
    return options_.dtype() == at::kBFloat16 ? "layer by layer bfloat16" : "layer by layer float32";
  }

 private:
  /// The gradient of the energies with respect to `input`.
  at::Tensor backward(const at::Tensor& input, std::vector<Kept>& kept) const {
    const at::Tensor top = layers_.empty() ? at::ones_like(input) : kept.back().derivative;
    at::Tensor gradient = (top * last_slope_).contiguous(layout_of(top));
    for (std::size_t i = layers_.size(); i-- > 0;) {
      kept[i].gradient = gradient;
      gradient = layers_[i].product.backward(gradient, i > 0 ? kept[i - 1].derivative : input);
      if (i > 0) multiply_and_add(gradient, kept[i - 1].derivative, skip_gradient(i - 1, kept));
    }
    return gradient;
  }

  /// f(z) of a layer, of that of the one before it.
  at::Tensor forward(std::size_t i, const at::Tensor& input, std::vector<Kept>& kept) const {
    const at::Tensor z = layers_[i].product.forward(input);
    at::Tensor skip, value;
    if (plan_.layers[i].skip) {
      skip = kept[plan_.layers[i].skip->from].z;
      if (convolves(i)) {
        kept[i].mean = at::avg_pool2d(skip, 2).contiguous(layout_of(skip));
        skip = layers_[i].skip.forward(kept[i].mean);
      }
    }
    if (plan_.skip_reader(i)) {
      kept[i].z = z;
      value = at::empty_like(z);
    }
    kept[i].derivative = at::empty_like(z);
    add_and_activate(config_, layers_[i].bias, skip, z, value, kept[i].derivative);
    return value.defined() ? value : z;
  }

  /// What comes to a layer's z through a skip connection; undefined where there is none.
  at::Tensor skip_gradient(std::size_t layer, std::vector<Kept>& kept) const {
    const auto reader = plan_.skip_reader(layer);
    if (!reader) return {};
    const at::Tensor gradient = std::exchange(kept[*reader].gradient, {});
    return convolves(*reader) ? layers_[*reader].skip.backward(gradient, kept[*reader].mean)
                              : gradient;
  }

  bool convolves(std::size_t layer) const {
    return plan_.layers[layer].skip && plan_.layers[layer].skip->convolves();
  }

  /// The first layer's weight, for an input with the channels that input_of() adds.
  at::Tensor widened(const at::Tensor& weight) const {
    return at::constant_pad_nd(weight, {0, 0, 0, 0, 0, input_channels() - shape_[0]});
  }

  /// Energy: the sum of weight ∘ top over all but the batch, and the bias. `weight` has one row.
  void load_last(const at::Tensor& weight, const at::Tensor& bias) {
    copy_to(last_weight_, weight, options_.dtype(at::kFloat));
    copy_to(last_slope_, weight, options_);
    copy_to(last_bias_, bias, options_.dtype(at::kFloat));
  }

  /// Fills `energy` from the top values.
  void evaluate_last(const at::Tensor& top, at::Tensor& energy) const {
    const Timed timed(Operation::output);
    std::vector<std::int64_t> dimensions;
    for (std::int64_t i = 1; i < top.dim(); ++i) dimensions.push_back(i);
    energy.copy_(at::sum(top * last_weight_, dimensions) + last_bias_);
  }

  /// In bfloat16 the matrix units of GPUs and processors take eight channels at a time: those that
  /// an image lacks are zero.
  std::int64_t input_channels() const {
    return options_.dtype() == at::kBFloat16 ? (shape_[0] + 7) / 8 * 8 : shape_[0];
  }

  /// The states in the engine's type and layout.
  at::Tensor input_of(const at::Tensor& state) const {
    if (!images_) return state.flatten(1).to(options_);
    if (input_channels() == shape_[0]) {
      return state.to(options_).contiguous(at::MemoryFormat::ChannelsLast);
    }
    at::Tensor input = at::empty({state.size(0), input_channels(), shape_[1], shape_[2]}, options_,
                                 at::MemoryFormat::ChannelsLast);
    input.zero_().narrow(1, 0, shape_[0]).copy_(state);
    return input;
  }

  EnergyConfig config_;
  StateShape shape_;
  at::TensorOptions options_;
  bool images_;                                      // else the mlp
  Plan plan_;                                        // of the mlp, where its weights are
  std::vector<ComputedLayer> layers_;                // all but the last
  at::Tensor last_weight_, last_slope_, last_bias_;  // the weight in float32, and in the type
};

}  // namespace

std::unique_ptr<GradientEngine> make_layerwise_engine(const EnergyConfig& config,
                                                      const Network& network, Precision precision,
                                                      at::Device device) {
  if (!network.plan() && config.type != EnergyType::mlp) {
    throw Error(ExitCode::bug, "only the built-in networks are computed layer by layer");
  }
  return std::make_unique<LayerwiseEngine>(config, network.state_shape(), network.plan(), precision,
                                           device);
}

}  // namespace stanley
