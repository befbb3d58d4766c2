#include "energy/resnet_tile_pass.hpp"

#include <algorithm>

#include "energy/operation_times.hpp"
#include "energy/tile_passes.hpp"

namespace stanley {

ResnetTilePass::ResnetTilePass(const Plan& plan, bool keeps_images) : TilePass(plan, keeps_images) {
  std::size_t layer = 1;
  for (std::size_t i = 1; i + 1 < plan.layers.size(); i += 2) {
    const Layer &first = plan.layers[i], &second = plan.layers[i + 1];
    Block block{layer, TileConvolution(first.computed()), TileConvolution(second.computed())};
    if (second.skip->convolves()) block.skip.emplace(plan.skip_shape(i + 1));
    layer += block.skip ? 3 : 2;
    residuals_.push_back(std::move(block));
  }
}

void ResnetTilePass::load(const std::vector<at::Tensor>& weights) {
  load_input_and_last(weights);
  for (std::size_t i = 0; i < residuals_.size(); ++i) {
    const Layer &first = plan_.layers[2 * i + 1], &second = plan_.layers[2 * i + 2];
    Block& residual = residuals_[i];
    residual.first.load(first.computed_weight(weights), first.computed_bias(weights));
    residual.second.load(second.computed_weight(weights), second.computed_bias(weights));
    if (residual.skip) residual.skip->load(weights[second.skip->weight], {});
  }
}

ResnetTilePass::Workspace ResnetTilePass::make_workspace(bool) const {
  Workspace workspace;
  for (const Block& residual : residuals_) {
    const ConvolutionShape& shape = residual.first.shape();
    const auto images = [&](std::int64_t channels) {
      return Images(shape.height, shape.width, channels);
    };
    Kept kept{.hidden = images(shape.channels),
              .value = images(shape.channels),
              .derivative = images(shape.channels),
              .middle = images(shape.filters),
              .middle_derivative = images(shape.filters)};
    if (residual.skip) {
      kept.mean = Images(shape.height / 2, shape.width / 2, shape.channels);
      kept.skip = Images(shape.height / 2, shape.width / 2, shape.filters);
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
  if (residual.skip) make_skip(tiles, share, residual, kept, sums);
  share.meet();
  Images& skip = residual.skip ? kept.skip : kept.hidden;
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
  return {.activation = plan_.activation,
          .slope = static_cast<float>(plan_.slope),
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
  residual.skip->forward(
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
  const bool halves = residual.skip.has_value();
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
    residual.skip->backward(tiles, share.first(kept.mean.height), share.end(kept.mean.height),
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
