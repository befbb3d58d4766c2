#include "energy/resnet_pass.hpp"

#include <algorithm>

#include "energy/images.hpp"
#include "energy/operation_times.hpp"

namespace stanley {
namespace {

std::vector<ImageLayout> make_layouts(const std::vector<ResidualBlock>& blocks) {
  std::vector<ImageLayout> layouts;
  for (std::size_t i = 0; i <= blocks.size(); ++i) {
    ConvolutionLayer writer{}, reader{};
    if (i > 0) writer = Residual::second_layer(blocks[i - 1]);
    if (i < blocks.size()) reader = Residual::first_layer(blocks[i]);
    layouts.push_back(
        winograd_layout(i > 0 ? &writer : nullptr, i < blocks.size() ? &reader : nullptr));
  }
  return layouts;
}

/// Calls visit(offset) for each pixel of image i.
template <typename Visit>
void for_each_pixel(const ImageLayout& layout, std::int64_t i, const Visit& visit) {
  for (std::int64_t y = 0; y < layout.height; ++y) {
    for (std::int64_t x = 0; x < layout.width; ++x) {
      visit(i * layout.size() + layout.row(y) + x * layout.channels);
    }
  }
}

}  // namespace

ResnetPass::ResnetPass(const EnergyConfig& config, const StateShape& shape, std::int64_t least_rows)
    : config_(config),
      shape_(shape),
      layouts_(make_layouts(resnet_blocks(config, shape))),
      input_(shape, config.channels, layouts_[0]) {
  const std::vector<ResidualBlock> blocks = resnet_blocks(config, shape);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    residuals_.emplace_back(blocks[i], layouts_[i], layouts_[i + 1], resnet_block, least_rows);
  }
  last_weight_ = AlignedBuffer<float>(layouts_.back().channels);
}

void ResnetPass::load(const std::vector<const float*>& weights) {
  input_.load(weights[0], weights[1]);
  const float* const* next = weights.data() + 2;
  for (Residual& residual : residuals_) next = residual.load(next);
  std::copy_n(next[0], residuals_.back().shape().out, last_weight_.data());
  last_bias_ = *next[1];
}

ResnetPass::Workspace ResnetPass::make_workspace() const {
  Workspace workspace;
  workspace.input = input_.make_workspace();
  for (const ImageLayout& layout : layouts_) {
    workspace.hidden.emplace_back(layout.size() * resnet_block);
  }
  std::int64_t row = 0;
  std::size_t scratch = 0;
  for (const Residual& residual : residuals_) {
    workspace.residual.push_back(residual.make_workspace());
    row = std::max(row, residual.row_size());
    scratch = std::max(scratch, residual.scratch_size());
  }
  workspace.top_derivative = AlignedBuffer<float>(layouts_.back().size() * resnet_block);
  workspace.row = AlignedBuffer<float>(row);
  workspace.scratch = AlignedBuffer<std::byte>(static_cast<std::int64_t>(scratch));
  return workspace;
}

void ResnetPass::forward(Workspace& workspace, std::int64_t count, const float* state) const {
  for (std::int64_t i = 0; i < count; ++i) {
    input_.forward(workspace.input, state + i * element_count(shape_),
                   workspace.hidden[0].data() + i * layouts_[0].size());
  }
  for (std::size_t i = 0; i < residuals_.size(); ++i) {
    residuals_[i].forward(workspace.residual[i], config_, count, workspace.hidden[i].data(),
                          workspace.hidden[i + 1].data(), workspace.scratch.data());
  }
  activate_images(config_, layouts_.back(), count, workspace.hidden.back().data(),
                  workspace.top_derivative.data());
}

float ResnetPass::energy(const Workspace& workspace, std::int64_t i) const {
  const Timed timed(Operation::output);
  float energy = last_bias_;
  for_each_pixel(layouts_.back(), i, [&](std::int64_t pixel) {
    energy +=
        dot(layouts_.back().channels, workspace.hidden.back().data() + pixel, last_weight_.data());
  });
  return energy;
}

void ResnetPass::start_backward(Workspace& workspace, std::int64_t i, float factor,
                                float* last_weight) const {
  const Timed timed(Operation::output);
  const std::int64_t channels = layouts_.back().channels;
  for_each_pixel(layouts_.back(), i, [&](std::int64_t pixel) {
    float* value = workspace.hidden.back().data() + pixel;
    if (last_weight != nullptr) add_scaled(channels, factor, value, last_weight);
    multiply(channels, last_weight_.data(), workspace.top_derivative.data() + pixel, value);
    if (factor != 1.0F) scale(channels, factor, value);
  });
}

}  // namespace stanley
