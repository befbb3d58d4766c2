#include <ATen/ATen.h>

#include <array>

#include "energy/gradient_engine.hpp"
#include "energy/operation_times.hpp"
#include "energy/residual.hpp"
#include "energy/state_blocks.hpp"
#include "energy/tile_convolution.hpp"
#include "energy/tile_input.hpp"
#include "energy/tile_passes.hpp"

namespace stanley {
namespace {

/// Images of sixteen states, whole.
struct TileImages {
  std::int64_t height = 0, width = 0, channels = 0;
  TileRows rows;

  TileImages() = default;
  TileImages(std::int64_t height_of, std::int64_t width_of, std::int64_t channels_of)
      : height(height_of),
        width(width_of),
        channels(whole_tiles(channels_of)),
        rows(height, width, channels) {}

  Bfloat16* at(std::int64_t y, std::int64_t x, std::int64_t channel = 0) {
    return rows.row(y) + x * rows.pixel_size() + channel * tile_images;
  }
};

/// A residual block, with its convolutions as energy/residual.hpp has them.
struct Block {
  ResidualBlock shape;
  TileConvolution first, second, skip;  // the last where it halves
};

/// What a residual block holds of one block of states. Gradients take the place of what they are
/// gradients of.
struct Kept {
  TileImages hidden, value, derivative;  // of its input: before, f and f′
  TileImages middle, middle_derivative;
  TileImages mean, skip;  // where it halves: the input's, and its product
};

struct Workspace {
  TileInput::Workspace input;
  std::vector<Kept> kept;  // one for each residual block
  TileImages top, top_derivative;
  AlignedBuffer<float> sums;
  std::array<float, tile_images> energies;
};

TileConvolution make_convolution(const ConvolutionLayer& layer) {
  return TileConvolution({.height = layer.in_height,
                          .width = layer.in_width,
                          .channels = layer.in,
                          .filters = layer.out,
                          .kernel = layer.kernel_height,
                          .stride = layer.stride,
                          .padding = layer.padding});
}

/// Sixteen states at a time, layer by layer.
class ResnetTileEngine : public GradientEngine {
 public:
  ResnetTileEngine(const EnergyConfig& config, const StateShape& shape)
      : config_(config), shape_(shape), input_(shape, config.channels) {
    for (const ResidualBlock& block : resnet_blocks(config, shape)) {
      const ConvolutionLayer skip{.in = block.in,
                                  .out = block.out,
                                  .kernel_height = 1,
                                  .kernel_width = 1,
                                  .stride = 1,
                                  .padding = 0,
                                  .in_height = block.height / 2,
                                  .in_width = block.width / 2};
      residuals_.push_back({block, make_convolution(Residual::first_layer(block)),
                            make_convolution(Residual::second_layer(block)),
                            make_convolution(skip)});
    }
  }

  void load(const std::vector<at::Tensor>& weights) override {
    input_.load(weights[0], weights[1]);
    auto weight = weights.begin() + 2;
    for (Block& residual : residuals_) {
      residual.first.load(weight[0], weight[1]);
      if (residual.shape.halves) {
        // The skip connection's bias goes with the other one.
        residual.second.load(with_mean(weight[2]), weight[3] + weight[5]);
        residual.skip.load(weight[4], {});
        weight += 6;
      } else {
        residual.second.load(weight[2], weight[3]);
        weight += 4;
      }
    }
    load_last(weight[0], weight[1]);
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
  /// weight [1, channels]; further channels of an image have none.
  void load_last(const at::Tensor& weight, const at::Tensor& bias) {
    const at::Tensor whole = weight.detach().contiguous();
    last_weight_ = AlignedBuffer<float>(whole_tiles(whole.numel()));
    std::copy_n(whole.const_data_ptr<float>(), whole.numel(), last_weight_.data());
    last_bias_ = bias.item<float>();
  }

  Workspace make_workspace() const {
    Workspace workspace;
    workspace.input = input_.make_workspace();
    workspace.sums = AlignedBuffer<float>(span_sums);
    for (const Block& residual : residuals_) {
      const ResidualBlock& block = residual.shape;
      const auto images = [&](std::int64_t channels) {
        return TileImages(block.height, block.width, channels);
      };
      Kept kept{.hidden = images(block.in),
                .value = images(block.in),
                .derivative = images(block.in),
                .middle = images(block.out),
                .middle_derivative = images(block.out)};
      if (block.halves) {
        kept.mean = TileImages(block.height / 2, block.width / 2, block.in);
        kept.skip = TileImages(block.height / 2, block.width / 2, block.out);
      }
      workspace.kept.push_back(std::move(kept));
    }
    const ConvolutionShape& last = residuals_.back().second.shape();
    workspace.top = TileImages(last.output_height(), last.output_width(), last.filters);
    workspace.top_derivative = workspace.top;
    return workspace;
  }

  void evaluate_block(Workspace& workspace, std::int64_t count, const float* state, float* energy,
                      float* gradient) const {
    const Tiles tiles(processor_has_tiles());
    forward_input(tiles, workspace, count, state);
    for (std::size_t i = 0; i < residuals_.size(); ++i) forward(tiles, workspace, i);
    evaluate_last(workspace);
    std::copy_n(workspace.energies.begin(), count, energy);
    for (std::size_t i = residuals_.size(); i-- > 0;) backward(tiles, workspace, i);
    TileImages& bottom = workspace.kept.front().hidden;
    for (std::int64_t y = 0; y < bottom.height; ++y) {
      input_.backward(tiles, workspace.input, y, bottom.rows, workspace.sums.data(), gradient);
    }
  }

  void forward_input(const Tiles& tiles, Workspace& workspace, std::int64_t count,
                     const float* state) const {
    Kept& kept = workspace.kept.front();
    input_.start(workspace.input, count, state);
    for (std::int64_t y = 0; y < kept.hidden.height; ++y) {
      input_.forward(
          tiles, workspace.input, y, workspace.sums.data(),
          [&](std::int64_t x, std::int64_t filter, std::int64_t filters, const float* z) {
            activate_tiles(activation(filters, z, nullptr, kept.hidden.at(y, x, filter),
                                      kept.value.at(y, x, filter),
                                      kept.derivative.at(y, x, filter)));
          });
    }
  }

  /// Of residual block i.
  void forward(const Tiles& tiles, Workspace& workspace, std::size_t i) const {
    const Block& residual = residuals_[i];
    Kept& kept = workspace.kept[i];
    float* const sums = workspace.sums.data();
    residual.first.forward(
        tiles, 0, kept.middle.height, kept.value.rows, sums,
        [&](std::int64_t y, std::int64_t x, std::int64_t filter, std::int64_t filters,
            const float* z) {
          activate_tiles(activation(filters, z, nullptr, nullptr, kept.middle.at(y, x, filter),
                                    kept.middle_derivative.at(y, x, filter)));
        });
    if (residual.shape.halves) make_skip(tiles, residual, kept, sums);
    TileImages& skip = residual.shape.halves ? kept.skip : kept.hidden;
    const bool last = i + 1 == residuals_.size();
    Kept* const next = last ? nullptr : &workspace.kept[i + 1];
    TileImages& value = last ? workspace.top : next->value;
    TileImages& derivative = last ? workspace.top_derivative : next->derivative;
    residual.second.forward(
        tiles, 0, value.height, kept.middle.rows, sums,
        [&](std::int64_t y, std::int64_t x, std::int64_t filter, std::int64_t filters,
            const float* z) {
          activate_tiles(activation(filters, z, skip.at(y, x, filter),
                                    last ? nullptr : next->hidden.at(y, x, filter),
                                    value.at(y, x, filter), derivative.at(y, x, filter)));
        });
  }

  TileActivation activation(std::int64_t channels, const float* z, const Bfloat16* skip,
                            Bfloat16* hidden, Bfloat16* value, Bfloat16* derivative) const {
    return {.activation = config_.activation,
            .slope = static_cast<float>(config_.slope),
            .channels = channels,
            .z = z,
            .skip = skip,
            .hidden = hidden,
            .value = value,
            .derivative = derivative};
  }

  static void make_skip(const Tiles& tiles, const Block& residual, Kept& kept, float* sums) {
    for (std::int64_t y = 0; y < kept.mean.height; ++y) {
      const Timed timed(Operation::activations);
      for (std::int64_t x = 0; x < kept.mean.width; ++x) {
        const Bfloat16* const pixels[] = {
            kept.hidden.at(2 * y, 2 * x), kept.hidden.at(2 * y, 2 * x + 1),
            kept.hidden.at(2 * y + 1, 2 * x), kept.hidden.at(2 * y + 1, 2 * x + 1)};
        mean_of_pixels(kept.mean.channels, pixels, kept.mean.at(y, x));
      }
    }
    residual.skip.forward(
        tiles, 0, kept.mean.height, kept.mean.rows, sums,
        [&](std::int64_t y, std::int64_t x, std::int64_t filter, std::int64_t filters,
            const float* z) { store_tiles(filters, z, kept.skip.at(y, x, filter)); });
  }

  /// Energies, and the gradients of the top images in their place.
  void evaluate_last(Workspace& workspace) const {
    const Timed timed(Operation::output);
    TileImages& top = workspace.top;
    workspace.energies.fill(last_bias_);
    for (std::int64_t y = 0; y < top.height; ++y) {
      for (std::int64_t x = 0; x < top.width; ++x) {
        add_energies(top.channels, last_weight_.data(), top.at(y, x), workspace.energies.data());
        start_gradient(top.channels, last_weight_.data(), workspace.top_derivative.at(y, x),
                       top.at(y, x));
      }
    }
  }

  /// Of residual block i: to the gradient of its input.
  void backward(const Tiles& tiles, Workspace& workspace, std::size_t i) const {
    const Block& residual = residuals_[i];
    const bool halves = residual.shape.halves;
    Kept& kept = workspace.kept[i];
    float* const sums = workspace.sums.data();
    TileImages& out = i + 1 == residuals_.size() ? workspace.top : workspace.kept[i + 1].hidden;
    residual.second.backward(
        tiles, 0, kept.middle.height, out.rows, sums,
        [&](std::int64_t y, std::int64_t x, std::int64_t channel, std::int64_t channels,
            const float* gradient) {
          multiply_tiles({.channels = channels,
                          .gradient = gradient,
                          .derivative = kept.middle_derivative.at(y, x, channel),
                          .out = kept.middle.at(y, x, channel)});
        });
    if (halves) {
      residual.skip.backward(tiles, 0, kept.mean.height, out.rows, sums,
                             [&](std::int64_t y, std::int64_t x, std::int64_t channel,
                                 std::int64_t channels, const float* gradient) {
                               store_tiles(channels, gradient, kept.mean.at(y, x, channel));
                             });
    }
    // The last row and the last column of an odd size are in no square.
    const auto skip = [&](std::int64_t y, std::int64_t x, std::int64_t channel) {
      if (!halves) return out.at(y, x, channel);
      const bool inside = y / 2 < kept.mean.height && x / 2 < kept.mean.width;
      return inside ? kept.mean.at(y / 2, x / 2, channel) : nullptr;
    };
    residual.first.backward(tiles, 0, kept.hidden.height, kept.middle.rows, sums,
                            [&](std::int64_t y, std::int64_t x, std::int64_t channel,
                                std::int64_t channels, const float* gradient) {
                              multiply_tiles({.channels = channels,
                                              .gradient = gradient,
                                              .derivative = kept.derivative.at(y, x, channel),
                                              .skip = skip(y, x, channel),
                                              .factor = halves ? 0.25F : 1.0F,
                                              .out = kept.hidden.at(y, x, channel)});
                            });
  }

  EnergyConfig config_;
  StateShape shape_;
  TileInput input_;
  std::vector<Block> residuals_;
  AlignedBuffer<float> last_weight_;  // [channel]
  float last_bias_ = 0;
  std::vector<Workspace> workspaces_;  // one for each thread
};

}  // namespace

std::unique_ptr<GradientEngine> make_resnet_tile_engine(const EnergyConfig& config,
                                                        const StateShape& shape) {
  return std::make_unique<ResnetTileEngine>(config, shape);
}

}  // namespace stanley
