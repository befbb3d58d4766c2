#include "energy/plan.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "config/error.hpp"

namespace stanley {
namespace {

/// Filters of 4×4 that do, with stride 2, what these of 3×3 and a mean over 2×2 pixels do.
at::Tensor with_mean(const at::Tensor& weight) {
  // Tap by tap: so short rows as the taps of a filter are slow to go through.
  const std::int64_t out = weight.size(0), in = weight.size(1);
  const at::Tensor taps = weight.reshape({out * in, 9}).t().contiguous().view({3, 3, out, in});
  at::Tensor sum = at::zeros({4, 4, out, in}, weight.options());
  for (std::int64_t y = 0; y < 2; ++y) {
    for (std::int64_t x = 0; x < 2; ++x) sum.narrow(0, y, 3).narrow(1, x, 3).add_(taps, 0.25);
  }
  return sum.permute({2, 3, 0, 1}).contiguous();
}

void require_side(const StateShape& shape, const char* type) {
  if (shape[1] >= 8 && shape[2] >= 8) return;
  throw Error(ExitCode::configuration,
              std::string("energy.type: ") + type +
                  " halves the image three times and needs sides of at least 8 pixels, not " +
                  std::to_string(shape[1]) + " x " + std::to_string(shape[2]) +
                  "; enlarge the images (tools/convert_images.py --pad or --size)");
}

/// Writes a plan layer by layer.
class Writer {
 public:
  Writer(const EnergyConfig& config, const StateShape& shape)
      : height_(shape[1]), width_(shape[2]), channels_(shape[0]) {
    plan_.activation = config.activation;
    plan_.slope = config.slope;
  }

  /// The layer that reads the one before, with padding 1.
  void add(const std::string& name, std::int64_t filters, std::int64_t kernel, std::int64_t stride,
           bool means = false, std::optional<SkipConnection> skip = {}) {
    Layer layer{.name = name,
                .shape = {.height = height_,
                          .width = width_,
                          .channels = channels_,
                          .filters = filters,
                          .kernel = kernel,
                          .stride = stride,
                          .padding = 1},
                .weight = next_weight(),
                .means = means,
                .skip = std::move(skip)};
    if (layer.skip && layer.skip->convolves()) layer.skip->weight = next_weight();
    height_ = layer.computed().output_height();
    width_ = layer.computed().output_width();
    channels_ = filters;
    plan_.layers.push_back(std::move(layer));
  }

  /// h ↦ second(f(first(f(h)))) + h, to twice the channels and half the size where it `halves`.
  void add_residual(const std::string& name, bool halves) {
    const std::int64_t filters = halves ? 2 * channels_ : channels_;
    const SkipConnection skip{.from = plan_.layers.size() - 1, .name = halves ? name + "skip" : ""};
    add(name + "first", filters, 3, 1);
    add(name + "second", filters, 3, 1, halves, skip);
  }

  Plan finish(const std::string& last_name, bool sums) {
    plan_.last_name = last_name;
    plan_.last = next_weight();
    plan_.sums = sums;
    return std::move(plan_);
  }

 private:
  std::size_t next_weight() { return 2 * convolutions_++; }

  Plan plan_{};
  std::int64_t height_, width_, channels_;
  std::size_t convolutions_ = 0;
};

}  // namespace

std::int64_t element_count(const StateShape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  return count;
}

ConvolutionShape Layer::computed() const {
  ConvolutionShape result = shape;
  if (means) {
    result.kernel = 4;
    result.stride = 2;
  }
  return result;
}

at::Tensor Layer::computed_weight(const std::vector<at::Tensor>& weights) const {
  const at::Tensor of_network = weights[weight].detach();
  return means ? with_mean(of_network) : of_network;
}

at::Tensor Layer::computed_bias(const std::vector<at::Tensor>& weights) const {
  const at::Tensor bias = weights[weight + 1].detach();
  return skip && skip->convolves() ? bias + weights[skip->weight + 1].detach() : bias;
}

at::Tensor Layer::as_network(const at::Tensor& gradient) const {
  if (!means) return gradient;
  at::Tensor sum = gradient.narrow(2, 0, 3).narrow(3, 0, 3) * 0.25;
  for (std::int64_t i = 1; i < 4; ++i) {
    sum.add_(gradient.narrow(2, i / 2, 3).narrow(3, i % 2, 3), 0.25);
  }
  return sum.contiguous();
}

StateShape Plan::state_shape() const {
  const ConvolutionShape& first = layers.front().shape;
  return {first.channels, first.height, first.width};
}

ConvolutionShape Plan::skip_shape(std::size_t layer) const {
  const ConvolutionShape of_layer = layers[layer].computed();
  return {.height = of_layer.output_height(),
          .width = of_layer.output_width(),
          .channels = layers[layers[layer].skip->from].shape.filters,
          .filters = of_layer.filters,
          .kernel = 1,
          .stride = 1,
          .padding = 0};
}

std::optional<std::size_t> Plan::skip_reader(std::size_t layer) const {
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].skip && layers[i].skip->from == layer) return i;
  }
  return {};
}

bool Plan::has_skips() const {
  return std::any_of(layers.begin(), layers.end(),
                     [](const Layer& layer) { return layer.skip.has_value(); });
}

Plan convnet_plan(const EnergyConfig& config, const StateShape& shape) {
  require_side(shape, "convnet");
  Writer writer(config, shape);
  writer.add("layers.0", config.channels, 3, 1);
  for (int i = 1; i < 4; ++i) {
    writer.add("layers." + std::to_string(i), config.channels << i, 4, 2);
  }
  return writer.finish("layers.4", false);
}

Plan resnet_plan(const EnergyConfig& config, const StateShape& shape) {
  require_side(shape, "resnet");
  constexpr int levels = 3;
  Writer writer(config, shape);
  writer.add("input", config.channels, 3, 1);
  for (int level = 0; level < levels; ++level) {
    for (std::int64_t block = 0; block < config.blocks; ++block) {
      writer.add_residual("levels." + std::to_string(level) + "." + std::to_string(block) + ".",
                          block == 0);
    }
  }
  return writer.finish("output", true);
}

}  // namespace stanley
