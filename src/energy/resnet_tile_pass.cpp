#include "energy/resnet_tile_pass.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "energy/operation_times.hpp"
#include "energy/residual.hpp"
#include "energy/tile_passes.hpp"

namespace stanley {

ResnetTilePass::ResnetTilePass(const EnergyConfig& config, const StateShape& shape,
                               bool keeps_images)
    : config_(config), input_(shape, config.channels, keeps_images) {
  std::size_t layer = 1;
  for (const ResidualBlock& block : resnet_blocks(config, shape)) {
    const ConvolutionLayer skip{.in = block.in,
                                .out = block.out,
                                .kernel_height = 1,
                                .kernel_width = 1,
                                .stride = 1,
                                .padding = 0,
                                .in_height = block.height / 2,
                                .in_width = block.width / 2};
    residuals_.push_back({block, make_tile_convolution(Residual::first_layer(block)),
                          make_tile_convolution(Residual::second_layer(block)),
                          make_tile_convolution(skip), layer});
    layer += block.halves ? 3 : 2;
  }
}

void ResnetTilePass::load(const std::vector<at::Tensor>& weights) {
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

/// weight [1, channels]; further channels of an image have none.
void ResnetTilePass::load_last(const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor whole = weight.detach().contiguous();
  last_weight_ = AlignedBuffer<float>(whole_tiles(whole.numel()));
  std::copy_n(whole.const_data_ptr<float>(), whole.numel(), last_weight_.data());
  last_bias_ = bias.item<float>();
}

ResnetTilePass::Scratch ResnetTilePass::make_scratch() const {
  return {input_.make_workspace(), AlignedBuffer<float>(span_sums)};
}

ResnetTilePass::Workspace ResnetTilePass::make_workspace(bool) const {
  Workspace workspace;
  for (const Block& residual : residuals_) {
    const ResidualBlock& block = residual.shape;
    const auto images = [&](std::int64_t channels) {
      return Images(block.height, block.width, channels);
    };
    Kept kept{.hidden = images(block.in),
              .value = images(block.in),
              .derivative = images(block.in),
              .middle = images(block.out),
              .middle_derivative = images(block.out)};
    if (block.halves) {
      kept.mean = Images(block.height / 2, block.width / 2, block.in);
      kept.skip = Images(block.height / 2, block.width / 2, block.out);
    }
    workspace.kept.push_back(std::move(kept));
  }
  const ConvolutionShape& last = residuals_.back().second.shape();
  workspace.top = Images(last.output_height(), last.output_width(), last.filters);
  workspace.top_derivative = workspace.top;
  return workspace;
}

void ResnetTilePass::forward(const Tiles& tiles, const Share& share, Scratch& scratch,
                             Workspace& workspace, std::int64_t count, const float* state) const {
  forward_input(tiles, share, scratch, workspace, count, state);
  for (std::size_t i = 0; i < residuals_.size(); ++i) {
    forward(tiles, share, scratch.sums.data(), workspace, i);
  }
  if (share.rank == 0) add_energies_of_top(workspace);
  share.meet();
}

void ResnetTilePass::backward(const Tiles& tiles, const Share& share, Scratch& scratch,
                              Workspace& workspace, float* gradient) const {
  start_gradients(share, workspace, unit_factors.data());
  for (std::size_t i = residuals_.size(); i-- > 0;) {
    backward(tiles, share, scratch.sums.data(), workspace, i,
             [](std::size_t, const TileRows&, const TileRows&) {});
  }
  const TileRows& bottom = workspace.kept.front().hidden.rows;
  const auto [first, end] = input_.backward_rows(scratch.input);
  for (std::int64_t y = first; y < end; ++y) {
    input_.backward(tiles, scratch.input, y, bottom, scratch.sums.data(), gradient);
  }
}

void ResnetTilePass::backward_to_weights(const Tiles& tiles, Scratch& scratch, Workspace& workspace,
                                         const float* factor, float* last,
                                         const VisitTileLayer& visit) const {
  Images& top = workspace.top;
  for (std::int64_t y = 0; y < top.height; ++y) {
    for (std::int64_t x = 0; x < top.width; ++x) {
      add_products(top.channels, factor, top.at(y, x), last);
    }
  }
  start_gradients({}, workspace, factor);
  for (std::size_t i = residuals_.size(); i-- > 0;) {
    backward(tiles, {}, scratch.sums.data(), workspace, i, visit);
  }
  visit(0, scratch.input.taps, workspace.kept.front().hidden.rows);
}

std::vector<ConvolutionShape> ResnetTilePass::layers() const {
  std::vector<ConvolutionShape> result{input_.as_convolution()};
  for (const Block& residual : residuals_) {
    result.push_back(residual.first.shape());
    result.push_back(residual.second.shape());
    if (residual.shape.halves) result.push_back(residual.skip.shape());
  }
  return result;
}

std::int64_t ResnetTilePass::last_size() const {
  return whole_tiles(residuals_.back().second.shape().filters);
}

std::vector<at::Tensor> ResnetTilePass::as_network(std::vector<TileLayerWeights> layers,
                                                   const at::Tensor& last,
                                                   const at::Tensor& last_bias) const {
  std::vector<at::Tensor> result{input_.as_network(layers[0].weight), layers[0].bias};
  for (const Block& residual : residuals_) {
    const TileLayerWeights *first = &layers[residual.layer], *second = first + 1, *skip = first + 2;
    result.insert(result.end(), {first->weight, first->bias});
    if (residual.shape.halves) {
      result.insert(result.end(), {adjoint_of_mean(second->weight), second->bias});
      result.insert(result.end(), {skip->weight, second->bias});
    } else {
      result.insert(result.end(), {second->weight, second->bias});
    }
  }
  result.insert(result.end(), {last.unsqueeze(0), last_bias});
  return result;
}

void ResnetTilePass::forward_input(const Tiles& tiles, const Share& share, Scratch& scratch,
                                   Workspace& workspace, std::int64_t count,
                                   const float* state) const {
  Kept& kept = workspace.kept.front();
  input_.start(scratch.input, share, count, state);
  for (std::int64_t y = scratch.input.first; y < scratch.input.end; ++y) {
    input_.forward(
        tiles, scratch.input, y, scratch.sums.data(),
        [&](std::int64_t x, std::int64_t filter, std::int64_t filters, const float* z) {
          activate_tiles(activation(filters, z, nullptr, kept.hidden.at(y, x, filter),
                                    kept.value.at(y, x, filter), kept.derivative.at(y, x, filter)));
        });
  }
  share.meet();
}

/// Of residual block i.
void ResnetTilePass::forward(const Tiles& tiles, const Share& share, float* sums,
                             Workspace& workspace, std::size_t i) const {
  const Block& residual = residuals_[i];
  Kept& kept = workspace.kept[i];
  residual.first.forward(
      tiles, share.first(kept.middle.height), share.end(kept.middle.height), kept.value.rows, sums,
      [&](std::int64_t y, std::int64_t x, std::int64_t filter, std::int64_t filters,
          const float* z) {
        activate_tiles(activation(filters, z, nullptr, nullptr, kept.middle.at(y, x, filter),
                                  kept.middle_derivative.at(y, x, filter)));
      });
  if (residual.shape.halves) make_skip(tiles, share, residual, kept, sums);
  share.meet();
  Images& skip = residual.shape.halves ? kept.skip : kept.hidden;
  const bool last = i + 1 == residuals_.size();
  Kept* const next = last ? nullptr : &workspace.kept[i + 1];
  Images& value = last ? workspace.top : next->value;
  Images& derivative = last ? workspace.top_derivative : next->derivative;
  residual.second.forward(
      tiles, share.first(value.height), share.end(value.height), kept.middle.rows, sums,
      [&](std::int64_t y, std::int64_t x, std::int64_t filter, std::int64_t filters,
          const float* z) {
        activate_tiles(activation(filters, z, skip.at(y, x, filter),
                                  last ? nullptr : next->hidden.at(y, x, filter),
                                  value.at(y, x, filter), derivative.at(y, x, filter)));
      });
  share.meet();
}

TileActivation ResnetTilePass::activation(std::int64_t channels, const float* z,
                                          const Bfloat16* skip, Bfloat16* hidden, Bfloat16* value,
                                          Bfloat16* derivative) const {
  return {.activation = config_.activation,
          .slope = static_cast<float>(config_.slope),
          .channels = channels,
          .z = z,
          .skip = skip,
          .hidden = hidden,
          .value = value,
          .derivative = derivative};
}

void ResnetTilePass::make_skip(const Tiles& tiles, const Share& share, const Block& residual,
                               Kept& kept, float* sums) {
  const std::int64_t first = share.first(kept.mean.height), end = share.end(kept.mean.height);
  for (std::int64_t y = first; y < end; ++y) {
    const Timed timed(Operation::activations);
    for (std::int64_t x = 0; x < kept.mean.width; ++x) {
      const Bfloat16* const pixels[] = {
          kept.hidden.at(2 * y, 2 * x), kept.hidden.at(2 * y, 2 * x + 1),
          kept.hidden.at(2 * y + 1, 2 * x), kept.hidden.at(2 * y + 1, 2 * x + 1)};
      mean_of_pixels(kept.mean.channels, pixels, kept.mean.at(y, x));
    }
  }
  residual.skip.forward(
      tiles, first, end, kept.mean.rows, sums,
      [&](std::int64_t y, std::int64_t x, std::int64_t filter, std::int64_t filters,
          const float* z) { store_tiles(filters, z, kept.skip.at(y, x, filter)); });
}

void ResnetTilePass::add_energies_of_top(Workspace& workspace) const {
  const Timed timed(Operation::output);
  Images& top = workspace.top;
  workspace.energies.fill(last_bias_);
  for (std::int64_t y = 0; y < top.height; ++y) {
    for (std::int64_t x = 0; x < top.width; ++x) {
      add_energies(top.channels, last_weight_.data(), top.at(y, x), workspace.energies.data());
    }
  }
}

/// Of the top images, in their place.
void ResnetTilePass::start_gradients(const Share& share, Workspace& workspace,
                                     const float* factor) const {
  const Timed timed(Operation::output);
  Images& top = workspace.top;
  for (std::int64_t y = share.first(top.height); y < share.end(top.height); ++y) {
    for (std::int64_t x = 0; x < top.width; ++x) {
      start_gradient(top.channels, last_weight_.data(), factor, workspace.top_derivative.at(y, x),
                     top.at(y, x));
    }
  }
  share.meet();
}

/// Of residual block i: to the gradient of its input.
template <typename Visit>
void ResnetTilePass::backward(const Tiles& tiles, const Share& share, float* sums,
                              Workspace& workspace, std::size_t i, const Visit& visit) const {
  const Block& residual = residuals_[i];
  const bool halves = residual.shape.halves;
  Kept& kept = workspace.kept[i];
  Images& out = i + 1 == residuals_.size() ? workspace.top : workspace.kept[i + 1].hidden;
  visit(residual.layer + 1, kept.middle.rows, out.rows);
  residual.second.backward(tiles, share.first(kept.middle.height), share.end(kept.middle.height),
                           out.rows, sums,
                           [&](std::int64_t y, std::int64_t x, std::int64_t channel,
                               std::int64_t channels, const float* gradient) {
                             multiply_tiles({.channels = channels,
                                             .gradient = gradient,
                                             .derivative = kept.middle_derivative.at(y, x, channel),
                                             .out = kept.middle.at(y, x, channel)});
                           });
  if (halves) {
    visit(residual.layer + 2, kept.mean.rows, out.rows);
    residual.skip.backward(tiles, share.first(kept.mean.height), share.end(kept.mean.height),
                           out.rows, sums,
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
  share.meet();
  visit(residual.layer, kept.value.rows, kept.middle.rows);
  residual.first.backward(tiles, share.first(kept.hidden.height), share.end(kept.hidden.height),
                          kept.middle.rows, sums,
                          [&](std::int64_t y, std::int64_t x, std::int64_t channel,
                              std::int64_t channels, const float* gradient) {
                            multiply_tiles({.channels = channels,
                                            .gradient = gradient,
                                            .derivative = kept.derivative.at(y, x, channel),
                                            .skip = skip(y, x, channel),
                                            .factor = halves ? 0.25F : 1.0F,
                                            .out = kept.hidden.at(y, x, channel)});
                          });
  share.meet();
}

}  // namespace stanley
