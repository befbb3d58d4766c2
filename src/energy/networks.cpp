#include "energy/networks.hpp"

#include <ATen/ATen.h>

#include <utility>

namespace stanley {
namespace {

/// The activation that the configuration names.
at::Tensor activate(const EnergyConfig& config, const at::Tensor& input) {
  return config.activation == Activation::silu ? at::silu(input)
                                               : at::leaky_relu(input, config.slope);
}

class Mlp : public Network {
 public:
  Mlp(const EnergyConfig& config, const StateShape& shape, std::uint32_t seed)
      : Network(shape), config_(config) {
    std::int64_t in = element_count(shape);
    std::vector<std::int64_t> widths = config.hidden;
    widths.push_back(1);
    for (std::size_t layer = 0; layer < widths.size(); ++layer) {
      const std::string name = "layers." + std::to_string(layer);
      add_parameter(name + ".weight", {widths[layer], in}, in, seed);
      add_parameter(name + ".bias", {widths[layer]}, in, seed);
      count_flops(widths[layer] * in, 1);
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
      : Network(plan.state_shape()), config_(config), plan_(std::move(plan)) {
    const auto add = [&](const std::string& name, const std::vector<std::int64_t>& weight,
                         std::int64_t positions) {
      std::int64_t fan_in = 1;
      for (std::size_t i = 1; i < weight.size(); ++i) fan_in *= weight[i];
      add_parameter(name + ".weight", weight, fan_in, seed);
      add_parameter(name + ".bias", {weight[0]}, fan_in, seed);
      count_flops(weight[0] * fan_in, positions);
    };
    for (const Layer& layer : plan_.layers) {
      const std::int64_t pixels = layer.convolved(layer.height) * layer.convolved(layer.width);
      add(layer.name, {layer.filters, layer.channels, layer.kernel, layer.kernel}, pixels);
      if (layer.skip && layer.skip->convolves()) {
        const std::int64_t channels = plan_.layers[layer.skip->from].filters;
        add(layer.skip->name, {layer.filters, channels, 1, 1}, pixels);
      }
    }
    const Layer& top = plan_.layers.back();
    if (plan_.sums) {
      add(plan_.last_name, {1, top.filters}, 1);
    } else {
      add(plan_.last_name, {1, top.filters, top.output_height(), top.output_width()}, 1);
    }
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

std::unique_ptr<Network> make_mlp(const EnergyConfig& config, const StateShape& shape,
                                  std::uint32_t seed) {
  return std::make_unique<Mlp>(config, shape, seed);
}

std::unique_ptr<Network> make_planned(const EnergyConfig& config, const Plan& plan,
                                      std::uint32_t seed) {
  return std::make_unique<PlannedNetwork>(config, plan, seed);
}

}  // namespace stanley
