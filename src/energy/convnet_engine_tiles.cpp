#include <ATen/ATen.h>

#include <array>

#include "energy/gradient_engine.hpp"
#include "energy/operation_times.hpp"
#include "energy/state_blocks.hpp"
#include "energy/tile_convolution.hpp"
#include "energy/tile_input.hpp"
#include "energy/tile_passes.hpp"

namespace stanley {
namespace {

/// Sixteen states at a time, a few rows of each level as soon as those that they need are there, so
/// that all but the derivatives stays in a core's cache from when it is made until it is used.
class ConvnetTileEngine : public GradientEngine {
 public:
  ConvnetTileEngine(const EnergyConfig& config, const StateShape& shape)
      : config_(config), shape_(shape), input_(shape, config.channels) {
    const std::vector<ConvolutionLayer> layers = convnet_layers(config.channels, shape);
    for (std::size_t i = 0; i + 1 < layers.size(); ++i) {
      const ConvolutionLayer& layer = layers[i];
      levels_.push_back({layer.out_height, layer.out_width, whole_tiles(layer.out)});
      if (i == 0) continue;
      convolutions_.emplace_back(ConvolutionShape{.height = layer.in_height,
                                                  .width = layer.in_width,
                                                  .channels = layer.in,
                                                  .filters = layer.out,
                                                  .kernel = layer.kernel_height,
                                                  .stride = layer.stride,
                                                  .padding = layer.padding});
    }
  }

  void load(const std::vector<at::Tensor>& weights) override {
    input_.load(weights[0], weights[1]);
    for (std::size_t i = 0; i < convolutions_.size(); ++i) {
      convolutions_[i].load(weights[2 * i + 2], weights[2 * i + 3]);
    }
    load_last(weights[weights.size() - 2], weights.back());
  }

  void evaluate(const at::Tensor& state, at::Tensor& energy, at::Tensor& gradient) override {
    evaluate_in_blocks(
        tile_images, state, energy, gradient, workspaces_, [&] { return make_workspace(); },
        [&](Workspace& workspace, std::int64_t count, const float* states, float* energies,
            float* gradients) { evaluate_block(workspace, count, states, energies, gradients); });
  }

  bool batch_invariant() const override { return true; }

  std::string description() const override { return "tiles bfloat16"; }

 private:
  /// The images between two layers.
  struct Level {
    std::int64_t height, width, channels;

    std::int64_t pixel_size() const { return channels * tile_images; }
    /// Rows that are made at a time, so that products have pixels enough: on the way up,
    std::int64_t rows_up() const { return std::max<std::int64_t>(1, span_pixels / width); }
    /// and on the way down, where each pixel of a square of 2×2 has weights of its own.
    std::int64_t rows_down() const {
      return 2 * std::max<std::int64_t>(1, 2 * span_pixels / width);
    }
  };

  /// What a level holds of one block of states.
  struct Images {
    TileRows values, gradients;
    AlignedBuffer<Bfloat16> derivatives;               // [height, width, channel / 2, image, 2]
    std::int64_t values_made = 0, gradients_made = 0;  // rows
  };

  struct Workspace {
    TileInput::Workspace input;
    std::vector<Images> images;
    AlignedBuffer<float> sums;
    std::array<float, tile_images> energies;
  };

  std::size_t top() const { return levels_.size() - 1; }

  /// weight [1, channel, height, width] in the order of a top image, whose further channels have
  /// none.
  void load_last(const at::Tensor& weight, const at::Tensor& bias) {
    const Level& level = levels_.back();
    const at::Tensor whole =
        at::constant_pad_nd(weight[0].detach(), {0, 0, 0, 0, 0, level.channels - weight.size(1)})
            .permute({1, 2, 0})
            .contiguous();
    last_weight_ = AlignedBuffer<float>(whole.numel());
    std::copy_n(whole.const_data_ptr<float>(), whole.numel(), last_weight_.data());
    last_bias_ = bias.item<float>();
  }
  const float* last_weight(std::int64_t y, std::int64_t x) const {
    return last_weight_.data() + (y * levels_.back().width + x) * levels_.back().channels;
  }

  Workspace make_workspace() const {
    Workspace workspace;
    workspace.input = input_.make_workspace();
    workspace.sums = AlignedBuffer<float>(span_sums);
    for (std::size_t i = 0; i < levels_.size(); ++i) {
      const Level& level = levels_[i];
      // What the rows made from these at a time reach, and what is made of these at a time.
      const std::int64_t up = i == top() ? 0 : 2 * levels_[i + 1].rows_up() + 2,
                         down = i == 0 ? 0 : levels_[i - 1].rows_down() / 2 + 2;
      Images images;
      images.values =
          TileRows(std::min(level.height, up + level.rows_up()), level.width, level.channels);
      images.gradients =
          TileRows(std::min(level.height, down + level.rows_down()), level.width, level.channels);
      images.derivatives = AlignedBuffer<Bfloat16>(level.height * level.width * level.pixel_size());
      workspace.images.push_back(std::move(images));
    }
    return workspace;
  }

  void evaluate_block(Workspace& workspace, std::int64_t count, const float* state, float* energy,
                      float* gradient) const {
    const Tiles tiles(processor_has_tiles());
    input_.start(workspace.input, count, state);
    for (Images& images : workspace.images) images.values_made = images.gradients_made = 0;
    workspace.energies.fill(last_bias_);
    for (std::int64_t y = 0; y < levels_.back().height; ++y) {
      make_values(tiles, workspace, top(), y + 1);
      add_energies_of_row(workspace, y);
    }
    std::copy_n(workspace.energies.begin(), count, energy);
    for (std::int64_t y = 0; y < levels_[0].height; ++y) {
      make_gradients(tiles, workspace, 0, y + 1);
      input_.backward(tiles, workspace.input, y, workspace.images[0].gradients,
                      workspace.sums.data(), gradient);
    }
  }

  /// Rows of a level until there are `end`, or all.
  void make_values(const Tiles& tiles, Workspace& workspace, std::size_t level,
                   std::int64_t end) const {
    const Level& at = levels_[level];
    Images& images = workspace.images[level];
    while (images.values_made < std::min(end, at.height)) {
      const std::int64_t y = images.values_made;
      images.values_made = std::min(at.height, y + at.rows_up());
      const auto finish = [&](std::int64_t row, std::int64_t x, std::int64_t filter,
                              std::int64_t filters, const float* z) {
        activate_tiles({.activation = config_.activation,
                        .slope = static_cast<float>(config_.slope),
                        .channels = filters,
                        .z = z,
                        .value = place(images.values, row, x, filter),
                        .derivative = derivative(images, at, row, x, filter)});
      };
      if (level == 0) {
        for (std::int64_t row = y; row < images.values_made; ++row) {
          input_.forward(tiles, workspace.input, row, workspace.sums.data(),
                         [&](std::int64_t x, std::int64_t filter, std::int64_t filters,
                             const float* z) { finish(row, x, filter, filters, z); });
        }
        continue;
      }
      make_values(tiles, workspace, level - 1, 2 * images.values_made + 1);
      convolutions_[level - 1].forward(tiles, y, images.values_made,
                                       workspace.images[level - 1].values, workspace.sums.data(),
                                       finish);
    }
  }

  void add_energies_of_row(Workspace& workspace, std::int64_t y) const {
    const Timed timed(Operation::output);
    const Level& level = levels_.back();
    for (std::int64_t x = 0; x < level.width; ++x) {
      add_energies(level.channels, last_weight(y, x),
                   place(workspace.images.back().values, y, x, 0), workspace.energies.data());
    }
  }

  /// Rows of the gradients of a level's convolution until there are `end`, or all.
  void make_gradients(const Tiles& tiles, Workspace& workspace, std::size_t level,
                      std::int64_t end) const {
    const Level& at = levels_[level];
    Images& images = workspace.images[level];
    while (images.gradients_made < std::min(end, at.height)) {
      const std::int64_t y = images.gradients_made;
      images.gradients_made = std::min(at.height, y + at.rows_down());
      if (level == top()) {
        start_gradients(workspace, y, images.gradients_made);
        continue;
      }
      make_gradients(tiles, workspace, level + 1, (images.gradients_made - 1) / 2 + 2);
      convolutions_[level].backward(
          tiles, y, images.gradients_made, workspace.images[level + 1].gradients,
          workspace.sums.data(),
          [&](std::int64_t row, std::int64_t x, std::int64_t channel, std::int64_t channels,
              const float* gradient) {
            multiply_tiles({.channels = channels,
                            .gradient = gradient,
                            .derivative = derivative(images, at, row, x, channel),
                            .out = place(images.gradients, row, x, channel)});
          });
    }
  }

  void start_gradients(Workspace& workspace, std::int64_t first, std::int64_t end) const {
    const Timed timed(Operation::output);
    const Level& level = levels_.back();
    Images& images = workspace.images.back();
    for (std::int64_t y = first; y < end; ++y) {
      for (std::int64_t x = 0; x < level.width; ++x) {
        start_gradient(level.channels, last_weight(y, x), derivative(images, level, y, x, 0),
                       place(images.gradients, y, x, 0));
      }
    }
  }

  static Bfloat16* place(TileRows& rows, std::int64_t y, std::int64_t x, std::int64_t channel) {
    return rows.row(y) + x * rows.pixel_size() + channel * tile_images;
  }
  static Bfloat16* derivative(Images& images, const Level& level, std::int64_t y, std::int64_t x,
                              std::int64_t channel) {
    return images.derivatives.data() + (y * level.width + x) * level.pixel_size() +
           channel * tile_images;
  }

  EnergyConfig config_;
  StateShape shape_;
  TileInput input_;
  std::vector<Level> levels_;                  // the input convolution's first
  std::vector<TileConvolution> convolutions_;  // between two levels
  AlignedBuffer<float> last_weight_;           // [height, width, channel]
  float last_bias_ = 0;
  std::vector<Workspace> workspaces_;  // one for each thread
};

}  // namespace

std::unique_ptr<GradientEngine> make_convnet_tile_engine(const EnergyConfig& config,
                                                         const StateShape& shape) {
  return std::make_unique<ConvnetTileEngine>(config, shape);
}

}  // namespace stanley
