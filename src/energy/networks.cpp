#include <ATen/ATen.h>

#include <utility>

#include "config/error.hpp"
#include "energy/network.hpp"
#include "energy/torchscript.hpp"

namespace stanley {
namespace {

/// The activation that the configuration names.
at::Tensor activate(const EnergyConfig& config, const at::Tensor& input) {
  return config.activation == Activation::silu ? at::silu(input)
                                               : at::leaky_relu(input, config.slope);
}

/// A multilayer perceptron over the flattened state: hidden layers of `energy.hidden` widths.
class Mlp : public Network {
 public:
  Mlp(const EnergyConfig& config, const StateShape& shape, std::uint32_t seed)
      : Network(shape), config_(config) {
    std::int64_t in = element_count(shape);
    std::vector<std::int64_t> widths = config.hidden;
    widths.push_back(1);
    for (std::size_t layer = 0; layer < widths.size(); ++layer) {
      add_layer("layers." + std::to_string(layer), {widths[layer], in}, 1, seed);
      in = widths[layer];
    }
    if (config.spectral_normalization) normalize_spectrally(seed);
  }

  at::Tensor forward(const Points& points, const std::vector<at::Tensor>& weights) const override {
    at::Tensor hidden = points.state.flatten(1);
    for (std::size_t i = 0; i < weights.size(); i += 2) {
      hidden = at::linear(i == 0 ? hidden : activate(config_, hidden), weights[i], weights[i + 1]);
    }
    return hidden.flatten().to(at::kFloat);
  }

 private:
  EnergyConfig config_;
};

/// A network of images, as its plan describes it.
class PlannedNetwork : public Network {
 public:
  PlannedNetwork(const EnergyConfig& config, Plan plan, std::uint32_t seed)
      : Network(plan.state_shape(), plan.left_out), config_(config), plan_(std::move(plan)) {
    for (const Layer& layer : plan_.layers) {
      const std::int64_t pixels = layer.convolved(layer.height) * layer.convolved(layer.width);
      add_layer(layer.name, {layer.filters, layer.channels, layer.kernel, layer.kernel}, pixels,
                seed);
      if (layer.skip && layer.skip->convolves()) {
        const std::int64_t channels = plan_.layers[layer.skip->from].filters;
        add_layer(layer.skip->name, {layer.filters, channels, 1, 1}, pixels, seed);
      }
    }
    const Layer& top = plan_.layers.back();
    std::vector<std::int64_t> last{1, top.filters};
    if (!plan_.sums) last.insert(last.end(), {top.output_height(), top.output_width()});
    add_layer(plan_.last_name, last, 1, seed);
    if (config.spectral_normalization) normalize_spectrally(seed);
  }

  at::Tensor forward(const Points& points, const std::vector<at::Tensor>& weights) const override {
    at::Tensor hidden = points.state;
    std::vector<at::Tensor> skipping(plan_.layers.size());  // by the layers that will add them
    for (std::size_t i = 0; i < plan_.layers.size(); ++i) {
      const Layer& layer = plan_.layers[i];
      hidden = at::conv2d(i == 0 ? hidden : activate(config_, hidden), weights[layer.weight],
                          weights[layer.weight + 1], layer.stride, layer.padding);
      if (layer.skip) {
        const at::Tensor skip = std::exchange(skipping[i], {});
        const std::size_t weight = layer.skip->weight;
        hidden = hidden + (layer.skip->convolves()
                               ? at::conv2d(skip, weights[weight], weights[weight + 1])
                               : skip);
      }
      if (layer.means) hidden = at::avg_pool2d(hidden, 2);
      if (const auto reader = plan_.skip_reader(i)) skipping[*reader] = hidden;
    }
    const at::Tensor values = activate(config_, hidden), &weight = weights[plan_.last],
                     &bias = weights[plan_.last + 1];
    return (plan_.sums ? at::linear(values.sum({2, 3}), weight, bias)
                       : at::conv2d(values, weight, bias))
        .flatten()
        .to(at::kFloat);
  }

  const Plan* plan() const override { return &plan_; }

 private:
  EnergyConfig config_;
  Plan plan_;
};

}  // namespace

std::unique_ptr<Network> make_network(const EnergyConfig& config, const StateShape& shape,
                                      std::uint32_t seed, std::string_view file,
                                      const StateRange& range) {
  const bool image = shape.size() == 3;
  const bool only_images = config.type == EnergyType::convnet || config.type == EnergyType::resnet;
  if (only_images && !image) {
    throw Error(ExitCode::configuration,
                "energy.type: " + std::string(to_string(config.type)) +
                    " needs images (channel, height, width), and the data has " +
                    std::to_string(shape.size()) + " dimension(s); use energy.type: mlp");
  }
  switch (config.type) {
    case EnergyType::convnet:
      return std::make_unique<PlannedNetwork>(config, convnet_plan(config, shape), seed);
    case EnergyType::resnet:
      return std::make_unique<PlannedNetwork>(config, resnet_plan(config, shape), seed);
    case EnergyType::torchscript:
      return make_torchscript(config, shape, seed, file, range);
    case EnergyType::mlp:
      return std::make_unique<Mlp>(config, shape, seed);
  }
  throw Error(ExitCode::bug, "a network of unknown type was asked for");
}

}  // namespace stanley
