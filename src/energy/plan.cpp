#include "energy/plan.hpp"

#include <algorithm>

#include "config/error.hpp"

namespace stanley {
namespace {

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
                .height = height_,
                .width = width_,
                .channels = channels_,
                .filters = filters,
                .kernel = kernel,
                .stride = stride,
                .padding = 1,
                .weight = next_weight(),
                .means = means,
                .skip = std::move(skip)};
    if (layer.skip && layer.skip->convolves()) layer.skip->weight = next_weight();
    height_ = layer.output_height();
    width_ = layer.output_width();
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

StateShape Plan::state_shape() const {
  const Layer& first = layers.front();
  return {first.channels, first.height, first.width};
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
  const bool means = config.downsampling == Downsampling::means;
  for (int i = 1; i < 4; ++i) {
    writer.add("layers." + std::to_string(i), config.channels << i, means ? 3 : 4, means ? 1 : 2,
               means);
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
