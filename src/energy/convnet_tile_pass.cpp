#include "energy/convnet_tile_pass.hpp"

#include <algorithm>

#include "energy/operation_times.hpp"
#include "energy/tile_passes.hpp"

namespace stanley {
namespace {

Bfloat16* place(TileRows& rows, std::int64_t y, std::int64_t x, std::int64_t channel) {
  return rows.row(y) + x * rows.pixel_size() + channel * tile_images;
}

}  // namespace

ConvnetTilePass::ConvnetTilePass(const Plan& plan, bool keeps_images)
    : TilePass(plan, keeps_images), keeps_images_(keeps_images) {
  for (const Layer& layer : plan.layers) {
    const ConvolutionShape shape = layer.computed();
    if (!levels_.empty()) convolutions_.emplace_back(shape);
    levels_.push_back({shape.output_height(), shape.output_width(), whole_tiles(shape.filters)});
  }
}

void ConvnetTilePass::load(const std::vector<at::Tensor>& weights) {
  load_input_and_last(weights);
  for (std::size_t i = 0; i < convolutions_.size(); ++i) {
    const Layer& layer = plan_.layers[i + 1];
    convolutions_[i].load(layer.computed_weight(weights), layer.computed_bias(weights));
  }
}

ConvnetTilePass::Workspace ConvnetTilePass::make_workspace(bool shared) const {
  Workspace workspace;
  for (std::size_t i = 0; i < levels_.size(); ++i) {
    const Level& level = levels_[i];
    // What the rows made from these at a time reach, and what is made of these at a time.
    const std::int64_t up = i == top() ? 0 : 2 * levels_[i + 1].rows_up() + 2,
                       down = i == 0 ? 0 : levels_[i - 1].rows_down() / 2 + 2;
    const auto make_rows = [&](std::int64_t needed) {
      return TileRows(keeps_images_ || shared ? level.height : std::min(level.height, needed),
                      level.width, level.channels);
    };
    Images images;
    images.values = make_rows(up + level.rows_up());
    images.gradients = make_rows(down + level.rows_down());
    images.derivatives = AlignedBuffer<Bfloat16>(level.height * level.width * level.pixel_size());
    workspace.images.push_back(std::move(images));
  }
  return workspace;
}

void ConvnetTilePass::forward(const Tiles& tiles, const Share& share, Scratch& scratch,
                              Workspace& workspace, std::int64_t count, const float* state) const {
  input_.start(scratch.input, share, count, state);
  if (share.together) {
    for (std::size_t i = 0; i < levels_.size(); ++i) {
      const std::int64_t height = levels_[i].height;
      make_value_rows(tiles, scratch, workspace, i, share.first(height), share.end(height));
      share.meet();
    }
    if (share.rank > 0) return;
  } else {
    for (Images& images : workspace.images) images.values_made = images.gradients_made = 0;
  }
  workspace.energies.fill(last_bias_);
  for (std::int64_t y = 0; y < levels_.back().height; ++y) {
    if (!share.together) make_values(tiles, scratch, workspace, top(), y + 1);
    add_energies_of_row(workspace, y);
  }
}

void ConvnetTilePass::backward(const Tiles& tiles, const Share& share, Scratch& scratch,
                               Workspace& workspace, float* gradient) const {
  const float* const factor = unit_factors.data();
  for (std::size_t i = levels_.size(); share.together && i-- > 0;) {
    const std::int64_t height = levels_[i].height;
    make_gradient_rows(tiles, scratch, workspace, factor, i, share.first(height),
                       share.end(height));
    share.meet();
  }
  const auto [first, end] = input_.backward_rows(scratch.input);
  for (std::int64_t y = first; y < end; ++y) {
    if (!share.together) make_gradients(tiles, scratch, workspace, factor, 0, y + 1);
    input_.backward(tiles, scratch.input, y, workspace.images[0].gradients, scratch.sums.data(),
                    gradient);
  }
}

void ConvnetTilePass::backward_to_weights(const Tiles& tiles, Scratch& scratch,
                                          Workspace& workspace, const float* factor, float* last,
                                          const VisitTileLayer& visit) const {
  const Level& level = levels_.back();
  for (std::int64_t y = 0; y < level.height; ++y) {
    for (std::int64_t x = 0; x < level.width; ++x, last += level.pixel_size()) {
      add_products(level.channels, factor, place(workspace.images.back().values, y, x, 0), last);
    }
  }
  make_gradients(tiles, scratch, workspace, factor, 0, levels_[0].height);
  for (std::size_t i = 0; i < levels_.size(); ++i) {
    visit(i, i == 0 ? scratch.input.taps : workspace.images[i - 1].values,
          workspace.images[i].gradients);
  }
}

/// Rows of a level until there are `end`, or all.
void ConvnetTilePass::make_values(const Tiles& tiles, Scratch& scratch, Workspace& workspace,
                                  std::size_t level, std::int64_t end) const {
  const Level& at = levels_[level];
  Images& images = workspace.images[level];
  while (images.values_made < std::min(end, at.height)) {
    const std::int64_t y = images.values_made;
    images.values_made = std::min(at.height, y + at.rows_up());
    if (level > 0) make_values(tiles, scratch, workspace, level - 1, 2 * images.values_made + 1);
    make_value_rows(tiles, scratch, workspace, level, y, images.values_made);
  }
}

/// Rows of a level from those of the one below, which are there.
void ConvnetTilePass::make_value_rows(const Tiles& tiles, Scratch& scratch, Workspace& workspace,
                                      std::size_t level, std::int64_t first,
                                      std::int64_t end) const {
  const Level& at = levels_[level];
  Images& images = workspace.images[level];
  const auto finish = [&](std::int64_t row, std::int64_t x, std::int64_t filter,
                          std::int64_t filters, const float* z) {
    activate_tiles({.activation = plan_.activation,
                    .slope = static_cast<float>(plan_.slope),
                    .channels = filters,
                    .z = z,
                    .value = place(images.values, row, x, filter),
                    .derivative = derivative(images, at, row, x, filter)});
  };
  if (level > 0) {
    return convolutions_[level - 1].forward(tiles, first, end, workspace.images[level - 1].values,
                                            scratch.sums.data(), finish);
  }
  for (std::int64_t row = first; row < end; ++row) {
    input_.forward(tiles, scratch.input, row, scratch.sums.data(),
                   [&](std::int64_t x, std::int64_t filter, std::int64_t filters, const float* z) {
                     finish(row, x, filter, filters, z);
                   });
  }
}

void ConvnetTilePass::add_energies_of_row(Workspace& workspace, std::int64_t y) const {
  const Timed timed(Operation::output);
  const Level& level = levels_.back();
  for (std::int64_t x = 0; x < level.width; ++x) {
    add_energies(level.channels, last_weight(y, x), place(workspace.images.back().values, y, x, 0),
                 workspace.energies.data());
  }
}

/// Rows of the gradients of a level's convolution until there are `end`, or all.
void ConvnetTilePass::make_gradients(const Tiles& tiles, Scratch& scratch, Workspace& workspace,
                                     const float* factor, std::size_t level,
                                     std::int64_t end) const {
  const Level& at = levels_[level];
  Images& images = workspace.images[level];
  while (images.gradients_made < std::min(end, at.height)) {
    const std::int64_t y = images.gradients_made;
    images.gradients_made = std::min(at.height, y + at.rows_down());
    if (level < top()) {
      make_gradients(tiles, scratch, workspace, factor, level + 1,
                     (images.gradients_made - 1) / 2 + 2);
    }
    make_gradient_rows(tiles, scratch, workspace, factor, level, y, images.gradients_made);
  }
}

/// Rows of a level from those of the one above, which are there.
void ConvnetTilePass::make_gradient_rows(const Tiles& tiles, Scratch& scratch, Workspace& workspace,
                                         const float* factor, std::size_t level, std::int64_t first,
                                         std::int64_t end) const {
  if (level == top()) return start_gradients(workspace, factor, first, end);
  const Level& at = levels_[level];
  Images& images = workspace.images[level];
  convolutions_[level].backward(
      tiles, first, end, workspace.images[level + 1].gradients, scratch.sums.data(),
      [&](std::int64_t row, std::int64_t x, std::int64_t channel, std::int64_t channels,
          const float* gradient) {
        multiply_tiles({.channels = channels,
                        .gradient = gradient,
                        .derivative = derivative(images, at, row, x, channel),
                        .out = place(images.gradients, row, x, channel)});
      });
}

void ConvnetTilePass::start_gradients(Workspace& workspace, const float* factor, std::int64_t first,
                                      std::int64_t end) const {
  const Timed timed(Operation::output);
  const Level& level = levels_.back();
  Images& images = workspace.images.back();
  for (std::int64_t y = first; y < end; ++y) {
    for (std::int64_t x = 0; x < level.width; ++x) {
      start_gradient(level.channels, last_weight(y, x), factor, derivative(images, level, y, x, 0),
                     place(images.gradients, y, x, 0));
    }
  }
}

Bfloat16* ConvnetTilePass::derivative(Images& images, const Level& level, std::int64_t y,
                                      std::int64_t x, std::int64_t channel) {
  return images.derivatives.data() + (y * level.width + x) * level.pixel_size() +
         channel * tile_images;
}

}  // namespace stanley
