#include "energy/plan.hpp"

#include <algorithm>
#include <array>

#include "config/error.hpp"

namespace stanley {
namespace {

/// Both networks halve images so often, but for a convnet of fewer `energy.levels`.
constexpr std::int64_t most_levels = 3;

void require_side(const StateShape& shape, const char* type, std::int64_t levels) {
  const std::int64_t least = std::int64_t{1} << levels;
  if (shape[1] >= least && shape[2] >= least) return;
  constexpr std::array times{"once", "twice", "three times"};
  throw Error(ExitCode::configuration,
              std::string("energy.type: ") + type + " halves the image " +
                  times.at(static_cast<std::size_t>(levels - 1)) + " and needs sides of at least " +
                  std::to_string(least) + " pixels, not " + std::to_string(shape[1]) + " x " +
                  std::to_string(shape[2]) +
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
  require_side(shape, "convnet", config.levels);
  Writer writer(config, shape);
  const std::int64_t left_out = most_levels - config.levels;
  const auto name = [&](std::int64_t level) {
    return "layers." + std::to_string(left_out + level);
  };
  writer.add(name(0), config.channels, 3, 1);
  const bool means = config.downsampling == Downsampling::means;
  for (std::int64_t level = 1; level <= config.levels; ++level) {
    writer.add(name(level), config.channels << level, means ? 3 : 4, means ? 1 : 2, means);
  }
  Plan plan = writer.finish(name(config.levels + 1), false);
  plan.left_out = static_cast<std::size_t>(left_out);
  return plan;
}

Plan resnet_plan(const EnergyConfig& config, const StateShape& shape) {
  require_side(shape, "resnet", most_levels);
  Writer writer(config, shape);
  writer.add("input", config.channels, 3, 1);
  for (std::int64_t level = 0; level < most_levels; ++level) {
    for (std::int64_t block = 0; block < config.blocks; ++block) {
      writer.add_residual("levels." + std::to_string(level) + "." + std::to_string(block) + ".",
                          block == 0);
    }
  }
  return writer.finish("output", true);
}

}  // namespace stanley
