#include "engines/winograd/pass.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "energy/operation_times.hpp"
#include "engines/computed_layer.hpp"
#include "kernels/elementwise.hpp"

namespace stanley {
namespace {

/// f and f′ of `count` images of this layout, in place and at `derivative`.
void activate_images(const Plan& plan, const ImageLayout& layout, std::int64_t count, float* value,
                     float* derivative) {
  const Timed timed(Operation::activations);
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t y = 0; y < layout.height; ++y) {
      const std::int64_t row = i * layout.size() + layout.row(y);
      activate_floats(plan.activation, static_cast<float>(plan.slope), layout.row_size(),
                      value + row, derivative + row);
    }
  }
}

}  // namespace

WinogradPass::WinogradPass(const Plan& plan, bool for_weights)
    : plan_(plan),
      elements_(element_count(plan.state_shape())),
      deep_(!plan.has_skips()),
      levels_(make_levels(plan, for_weights)),
      input_(plan.state_shape(), plan.layers[0].filters, levels_[0].layout),
      last_weight_(last_size()) {}

std::vector<WinogradPass::Level> WinogradPass::make_levels(const Plan& plan, bool for_weights) {
  const std::size_t count = plan.layers.size();
  std::vector<ConvolutionShape> shapes;
  for (const Layer& layer : plan.layers) shapes.push_back(computed_shape(layer));
  std::vector<Level> levels;
  for (std::size_t i = 0; i < count; ++i) {
    // The first layer has few input channels: that convolution is another one.
    Level level{
        winograd_layout(i > 0 ? &shapes[i] : nullptr, i + 1 < count ? &shapes[i + 1] : nullptr)};
    level.skip_reader = plan.skip_reader(i);
    if (i > 0) {
      Level& below = levels.back();
      level.convolution.emplace(shapes[i], below.layout, level.layout,
                                plan.has_skips() ? 1 : below.group(), winograd_block,
                                for_weights ? rows_for_weights : rows_for_states);
      if (!for_weights && !plan.has_skips()) below.kept = level.group();
    }
    if (const auto& skip = plan.layers[i].skip) {
      level.skip.emplace(levels[skip->from].layout, level.layout, skip->convolves());
    }
    levels.push_back(std::move(level));
  }
  return levels;
}

void WinogradPass::load(const std::vector<at::Tensor>& weights) {
  const auto load = [](auto& convolution, const at::Tensor& weight, const at::Tensor& bias) {
    const at::Tensor whole = weight.detach().contiguous(), biases = bias.detach().contiguous();
    convolution.load(whole.const_data_ptr<float>(), biases.const_data_ptr<float>());
  };
  for (std::size_t i = 0; i < levels_.size(); ++i) {
    const Layer& layer = plan_.layers[i];
    const at::Tensor weight = computed_weight(layer, weights), &bias = weights[layer.weight + 1];
    if (i == 0) {
      load(input_, weight, bias);
    } else {
      load(*levels_[i].convolution, weight, bias);
    }
    if (layer.skip && layer.skip->convolves()) {
      levels_[i].skip->load(weights[layer.skip->weight], weights[layer.skip->weight + 1]);
    }
  }
  const at::Tensor last = weights[plan_.last].detach().contiguous();
  const auto* from = last.const_data_ptr<float>();
  for (std::int64_t i = 0; i < last.numel(); ++i) last_weight_.data()[last_place(i)] = from[i];
  last_bias_ = weights[plan_.last + 1].item<float>();
}

WinogradPass::Workspace WinogradPass::make_workspace() const {
  Workspace workspace;
  workspace.input = input_.make_workspace();
  std::int64_t row = 0;
  std::size_t scratch = 0;
  for (const Level& level : levels_) {
    Images images{AlignedBuffer<float>(level.layout.size() * level.kept),
                  AlignedBuffer<float>(level.layout.size() * winograd_block),
                  {},
                  {}};
    if (level.skip) {
      images.mean = AlignedBuffer<float>(level.skip->mean_size() * winograd_block);
      images.skip = AlignedBuffer<float>(level.skip->size() * winograd_block);
      row = std::max(row, level.skip->row_size());
    }
    if (level.convolution) scratch = std::max(scratch, level.convolution->scratch_size());
    workspace.images.push_back(std::move(images));
  }
  workspace.row = AlignedBuffer<float>(row);
  workspace.scratch = AlignedBuffer<std::byte>(static_cast<std::int64_t>(scratch));
  return workspace;
}

void WinogradPass::forward(Workspace& workspace, std::int64_t count, const float* state) const {
  for (Images& images : workspace.images) images.values_made = images.gradients_made = 0;
  make_values(workspace, levels_.size() - 1, count, count, state);
}

/// Images of a level until there are `end`.
void WinogradPass::make_values(Workspace& workspace, std::size_t level, std::int64_t end,
                               std::int64_t count, const float* state) const {
  const Level& at = levels_[level];
  Images& images = workspace.images[level];
  while (images.values_made < end) {
    const std::int64_t first = images.values_made, group = std::min(at.group(), count - first);
    images.values_made += group;
    float* value = at.value(images, first);
    if (level == 0) {
      input_.forward(workspace.input, state + first * elements_, value);
    } else {
      make_values(workspace, level - 1, needed(first + group, count), count, state);
      at.convolution->forward(group, levels_[level - 1].value(workspace.images[level - 1], first),
                              value, workspace.scratch.data());
    }
    for (std::int64_t i = first; i < first + group; ++i) {
      if (at.skip) at.skip->add(images.skip.data() + i * at.skip->size(), at.value(images, i));
      if (!at.skip_reader) continue;
      const WinogradSkip& skip = *levels_[*at.skip_reader].skip;
      Images& reader = workspace.images[*at.skip_reader];
      skip.forward(at.value(images, i), reader.mean.data() + i * skip.mean_size(),
                   reader.skip.data() + i * skip.size());
    }
    activate_images(plan_, at.layout, group, value, at.derivative(images, first));
  }
}

/// Calls visit(size, offset in a top image, offset in the last weight) for its rows, or for its
/// pixels where all have the same weights.
template <typename Pieces>
void WinogradPass::for_each_piece(const Pieces& visit) const {
  const ImageLayout& top = levels_.back().layout;
  const std::int64_t size = plan_.sums ? top.channels : top.row_size();
  for (std::int64_t y = 0; y < top.height; ++y) {
    for (std::int64_t x = 0; x < top.row_size(); x += size) {
      visit(size, top.row(y) + x, plan_.sums ? 0 : y * size);
    }
  }
}

float WinogradPass::energy(Workspace& workspace, std::int64_t i) const {
  const Timed timed(Operation::output);
  const float* value = levels_.back().value(workspace.images.back(), i);
  float energy = last_bias_;
  for_each_piece([&](std::int64_t size, std::int64_t at, std::int64_t weight) {
    energy += dot(size, value + at, last_weight_.data() + weight);
  });
  return energy;
}

void WinogradPass::start_backward(Workspace& workspace, std::int64_t i, float factor,
                                  float* last) const {
  const Timed timed(Operation::output);
  float* value = levels_.back().value(workspace.images.back(), i);
  const float* derivative = levels_.back().derivative(workspace.images.back(), i);
  for_each_piece([&](std::int64_t size, std::int64_t at, std::int64_t weight) {
    if (last != nullptr) add_scaled(size, factor, value + at, last + weight);
    multiply_floats(size, last_weight_.data() + weight, derivative + at, value + at);
    if (factor != 1.0F) scale(size, factor, value + at);
  });
}

void WinogradPass::backward(Workspace& workspace, std::int64_t count, const Visit& visit) const {
  workspace.images.back().gradients_made = count;
  for (std::int64_t i = 0; i < count; ++i) {
    make_gradients(workspace, 0, i + 1, count, visit);
    visit.state(i, levels_[0].value(workspace.images[0], i));
  }
}

/// Gradients of a level until there are `end`.
void WinogradPass::make_gradients(Workspace& workspace, std::size_t level, std::int64_t end,
                                  std::int64_t count, const Visit& visit) const {
  const Level& at = levels_[level];
  Images& images = workspace.images[level];
  while (images.gradients_made < end) {
    const Level& above = levels_[level + 1];
    const std::int64_t first = images.gradients_made,
                       group = std::min(above.group(), count - first);
    images.gradients_made += group;
    make_gradients(workspace, level + 1, needed(first + group, count), count, visit);
    const float* output = above.value(workspace.images[level + 1], first);
    if (visit.group) visit.group(level + 1, at.value(images, first), output);
    above.convolution->backward(group, output, at.derivative(images, first),
                                at.value(images, first), workspace.scratch.data());
    for (std::int64_t i = first; at.skip_reader && i < first + group; ++i) {
      add_skip_gradient(workspace, level, i, visit);
    }
  }
}

/// To image i of a level, from that of the level whose skip connection reads it.
void WinogradPass::add_skip_gradient(Workspace& workspace, std::size_t level, std::int64_t i,
                                     const Visit& visit) const {
  const std::size_t reader = *levels_[level].skip_reader;
  const WinogradSkip& skip = *levels_[reader].skip;
  Images& images = workspace.images[reader];
  const float* output = levels_[reader].value(images, i);
  if (visit.skip) visit.skip(reader, images.mean.data() + i * skip.mean_size(), output);
  skip.add_gradient(output, workspace.row.data(), levels_[level].value(workspace.images[level], i));
}

const WinogradSkip* WinogradPass::skip(std::size_t layer) const {
  return levels_[layer].skip ? &*levels_[layer].skip : nullptr;
}

std::unique_ptr<FilterGradient> WinogradPass::make_filter_gradient(std::size_t layer) const {
  return stanley::make_filter_gradient(computed_shape(plan_.layers[layer]),
                                       levels_[layer - 1].layout, levels_[layer].layout,
                                       levels_[layer].group());
}

void WinogradPass::store_last(const float* last, at::Tensor& weight) const {
  auto* to = weight.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < weight.numel(); ++i) to[i] = last[last_place(i)];
}

}  // namespace stanley
