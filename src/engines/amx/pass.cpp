#include "engines/amx/pass.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "energy/operation_times.hpp"
#include "engines/computed_layer.hpp"
#include "kernels/amx_elementwise.hpp"

namespace stanley {

AmxPass::AmxPass(const Plan& plan, bool keeps_images)
    : plan_(plan),
      has_skips_(plan.has_skips()),
      keeps_images_(keeps_images),
      input_(plan.state_shape(), plan.layers[0].filters, keeps_images) {
  std::size_t next = 0;
  for (std::size_t i = 0; i < plan.layers.size(); ++i) {
    const Layer& layer = plan.layers[i];
    const ConvolutionShape shape = computed_shape(layer);
    Level level{shape.output_height(), shape.output_width(), whole_tiles(shape.filters), next++};
    if (i > 0) level.convolution.emplace(shape);
    if (layer.skip && layer.skip->convolves()) {
      level.skip.emplace(computed_skip_shape(plan, i));
      ++next;
    }
    level.skip_reader = plan.skip_reader(i);
    levels_.push_back(std::move(level));
  }
}

void AmxPass::load(const std::vector<at::Tensor>& weights) {
  input_.load(weights[0], weights[1]);
  for (std::size_t i = 1; i < levels_.size(); ++i) {
    const Layer& layer = plan_.layers[i];
    Level& level = levels_[i];
    level.convolution->load(computed_weight(layer, weights), computed_bias(layer, weights));
    if (level.skip) level.skip->load(weights[layer.skip->weight], {});
  }
  // Further channels of an image have no weights.
  const std::int64_t channels = plan_.layers.back().filters;
  const at::Tensor by_channel = weights[plan_.last].detach().reshape({channels, -1});
  const std::int64_t lacking = levels_.back().channels - channels;
  const at::Tensor whole = at::constant_pad_nd(by_channel, {0, 0, 0, lacking}).t().contiguous();
  last_weight_ = AlignedBuffer<float>(whole.numel());
  std::copy_n(whole.const_data_ptr<float>(), whole.numel(), last_weight_.data());
  last_bias_ = weights[plan_.last + 1].item<float>();
}

AmxPass::Workspace AmxPass::make_workspace(bool shared) const {
  const bool whole = keeps_images_ || shared || has_skips_;
  Workspace workspace;
  for (std::size_t i = 0; i < levels_.size(); ++i) {
    const Level& level = levels_[i];
    // What the rows made from these at a time reach, and what is made of these at a time.
    const std::int64_t up = i == top() ? 0 : 2 * levels_[i + 1].rows_up() + 2,
                       down = i == 0 ? 0 : levels_[i - 1].rows_down() / 2 + 2;
    const auto make_rows = [&](std::int64_t needed) {
      return PixelRows(whole ? level.height : std::min(level.height, needed), level.width,
                       level.channels);
    };
    Images images;
    images.values = make_rows(up + level.rows_up());
    images.derivatives = make_rows(level.height);
    if (!has_skips_) images.gradients = make_rows(down + level.rows_down());
    if (level.skip_reader) images.hidden = make_rows(level.height);
    if (level.skip) {
      images.mean = PixelRows(level.height, level.width, level.skip->shape().channels);
      images.skip = make_rows(level.height);
    }
    workspace.images.push_back(std::move(images));
  }
  return workspace;
}

void AmxPass::forward(const Task& task, std::int64_t count, const float* state) const {
  input_.start(task.scratch.input, task.share, count, state);
  if (level_by_level(task.share)) {
    for (std::size_t i = 0; i < levels_.size(); ++i) {
      const std::int64_t height = levels_[i].height;
      make_value_rows(task, i, task.share.first(height), task.share.end(height));
      task.share.meet();
    }
  } else {
    for (Images& images : task.workspace.images) images.values_made = images.gradients_made = 0;
  }
  if (task.share.rank == 0) {
    task.workspace.energies.fill(last_bias_);
    for (std::int64_t y = 0; y < levels_.back().height; ++y) {
      if (!level_by_level(task.share)) make_values(task, top(), y + 1);
      add_energies_of_row(task, y);
    }
  }
  task.share.meet();
}

void AmxPass::backward(const Task& task, float* gradient) const {
  for (std::size_t i = levels_.size(); level_by_level(task.share) && i-- > 0;) {
    make_level_gradients(task, i);
  }
  const auto [first, end] = input_.backward_rows(task.scratch.input);
  for (std::int64_t y = first; y < end; ++y) {
    if (!level_by_level(task.share)) make_gradients(task, 0, y + 1);
    input_.backward(task.tiles, task.scratch.input, y, gradients(task, 0), task.scratch.sums.data(),
                    gradient);
  }
}

void AmxPass::backward_to_weights(const Task& task, float* last,
                                  const VisitTileLayer& visit) const {
  const Level& level = levels_.back();
  for_each_top_pixel(0, level.height, [&](std::int64_t y, std::int64_t x, std::int64_t weight) {
    add_products(level.channels, task.factor, task.workspace.images.back().values.at(y, x),
                 last + weight * tile_images);
  });
  if (!has_skips_) make_gradients(task, 0, levels_[0].height);
  for (std::size_t i = levels_.size(); i-- > 0;) {
    if (has_skips_) make_level_gradients(task, i);
    const PixelRows& gradient = gradients(task, i);
    visit(levels_[i].layer, i == 0 ? task.scratch.input.taps : task.workspace.images[i - 1].values,
          gradient);
    if (levels_[i].skip) visit(levels_[i].layer + 1, task.workspace.images[i].mean, gradient);
  }
}

PixelRows& AmxPass::gradients(const Task& task, std::size_t level) const {
  Images& images = task.workspace.images[level];
  if (!has_skips_) return images.gradients;
  return levels_[level].skip_reader ? images.hidden : images.values;
}

/// What is added to z, or null.
PixelRows* AmxPass::skip_to(const Task& task, std::size_t level) const {
  if (!plan_.layers[level].skip) return nullptr;
  if (levels_[level].skip) return &task.workspace.images[level].skip;
  return &task.workspace.images[plan_.layers[level].skip->from].hidden;
}

/// Rows of a level until there are `end`, or all.
void AmxPass::make_values(const Task& task, std::size_t level, std::int64_t end) const {
  const Level& at = levels_[level];
  Images& images = task.workspace.images[level];
  while (images.values_made < std::min(end, at.height)) {
    const std::int64_t y = images.values_made;
    images.values_made = std::min(at.height, y + at.rows_up());
    if (level > 0) make_values(task, level - 1, 2 * images.values_made + 1);
    make_value_rows(task, level, y, images.values_made);
  }
}

/// Rows of a level from those of the levels below, which are there.
void AmxPass::make_value_rows(const Task& task, std::size_t level, std::int64_t first,
                              std::int64_t end) const {
  const Level& at = levels_[level];
  Images& images = task.workspace.images[level];
  if (at.skip) make_skip_rows(task, level, first, end);
  PixelRows* const skip = skip_to(task, level);
  const auto finish = [&](std::int64_t row, std::int64_t x, std::int64_t filter,
                          std::int64_t filters, const float* z) {
    activate_pixel({.activation = plan_.activation,
                    .slope = static_cast<float>(plan_.slope),
                    .channels = filters,
                    .z = z,
                    .skip = skip != nullptr ? skip->at(row, x, filter) : nullptr,
                    .hidden = at.skip_reader ? images.hidden.at(row, x, filter) : nullptr,
                    .value = images.values.at(row, x, filter),
                    .derivative = images.derivatives.at(row, x, filter)});
  };
  if (at.convolution) {
    return at.convolution->forward(task.tiles, first, end, task.workspace.images[level - 1].values,
                                   task.scratch.sums.data(), finish);
  }
  for (std::int64_t row = first; row < end; ++row) {
    input_.forward(task.tiles, task.scratch.input, row, task.scratch.sums.data(),
                   [&](std::int64_t x, std::int64_t filter, std::int64_t filters, const float* z) {
                     finish(row, x, filter, filters, z);
                   });
  }
}

/// Rows of what a skip connection with a convolution adds to a level.
void AmxPass::make_skip_rows(const Task& task, std::size_t level, std::int64_t first,
                             std::int64_t end) const {
  const Level& at = levels_[level];
  Images& images = task.workspace.images[level];
  PixelRows& from = task.workspace.images[plan_.layers[level].skip->from].hidden;
  for (std::int64_t y = first; y < end; ++y) {
    const Timed timed(Operation::activations);
    for (std::int64_t x = 0; x < at.width; ++x) {
      const Bfloat16* const pixels[] = {from.at(2 * y, 2 * x), from.at(2 * y, 2 * x + 1),
                                        from.at(2 * y + 1, 2 * x), from.at(2 * y + 1, 2 * x + 1)};
      mean_of_pixels(at.skip->shape().channels, pixels, images.mean.at(y, x));
    }
  }
  at.skip->forward(task.tiles, first, end, images.mean, task.scratch.sums.data(),
                   [&](std::int64_t y, std::int64_t x, std::int64_t filter, std::int64_t filters,
                       const float* z) { store_pixel(filters, z, images.skip.at(y, x, filter)); });
}

void AmxPass::add_energies_of_row(const Task& task, std::int64_t y) const {
  const Timed timed(Operation::output);
  for_each_top_pixel(y, y + 1, [&](std::int64_t, std::int64_t x, std::int64_t weight) {
    add_energies(levels_.back().channels, last_weight_.data() + weight,
                 task.workspace.images.back().values.at(y, x), task.workspace.energies.data());
  });
}

/// Rows of the gradients of a level's convolution until there are `end`, or all.
void AmxPass::make_gradients(const Task& task, std::size_t level, std::int64_t end) const {
  const Level& at = levels_[level];
  Images& images = task.workspace.images[level];
  while (images.gradients_made < std::min(end, at.height)) {
    const std::int64_t y = images.gradients_made;
    images.gradients_made = std::min(at.height, y + at.rows_down());
    if (level < top()) {
      make_gradients(task, level + 1, (images.gradients_made - 1) / 2 + 2);
    }
    make_gradient_rows(task, level, y, images.gradients_made);
  }
}

/// This share of a level's gradients, and of those of the means that the level above has of a lower
/// one.
void AmxPass::make_level_gradients(const Task& task, std::size_t level) const {
  const std::int64_t height = levels_[level].height;
  make_gradient_rows(task, level, task.share.first(height), task.share.end(height));
  if (level < top() && levels_[level + 1].skip) {
    const Level& above = levels_[level + 1];
    PixelRows& mean = task.workspace.images[level + 1].mean;
    above.skip->backward(
        task.tiles, task.share.first(above.height), task.share.end(above.height),
        gradients(task, level + 1), task.scratch.sums.data(),
        [&](std::int64_t y, std::int64_t x, std::int64_t channel, std::int64_t channels,
            const float* gradient) { store_pixel(channels, gradient, mean.at(y, x, channel)); });
  }
  task.share.meet();
}

/// Rows of a level from those of the levels above, which are there.
void AmxPass::make_gradient_rows(const Task& task, std::size_t level, std::int64_t first,
                                 std::int64_t end) const {
  if (level == top()) return start_gradients(task, first, end);
  const std::optional<std::size_t>& reader = levels_[level].skip_reader;
  const bool halves = reader && levels_[*reader].skip;
  const auto skip = [&](std::int64_t y, std::int64_t x, std::int64_t channel) -> const Bfloat16* {
    if (!reader) return nullptr;
    if (!halves) return gradients(task, *reader).at(y, x, channel);
    // The last row and the last column of an odd size are in no square.
    const bool inside = y / 2 < levels_[*reader].height && x / 2 < levels_[*reader].width;
    return inside ? task.workspace.images[*reader].mean.at(y / 2, x / 2, channel) : nullptr;
  };
  PixelRows& derivatives = task.workspace.images[level].derivatives;
  PixelRows& out = gradients(task, level);
  levels_[level + 1].convolution->backward(
      task.tiles, first, end, gradients(task, level + 1), task.scratch.sums.data(),
      [&](std::int64_t y, std::int64_t x, std::int64_t channel, std::int64_t channels,
          const float* gradient) {
        multiply_pixel({.channels = channels,
                        .gradient = gradient,
                        .derivative = derivatives.at(y, x, channel),
                        .skip = skip(y, x, channel),
                        .factor = halves ? 0.25F : 1.0F,
                        .out = out.at(y, x, channel)});
      });
}

void AmxPass::start_gradients(const Task& task, std::int64_t first, std::int64_t end) const {
  const Timed timed(Operation::output);
  PixelRows& out = gradients(task, top());
  for_each_top_pixel(first, end, [&](std::int64_t y, std::int64_t x, std::int64_t weight) {
    start_gradient(levels_.back().channels, last_weight_.data() + weight, task.factor,
                   task.workspace.images.back().derivatives.at(y, x), out.at(y, x));
  });
}

/// Calls visit(y, x, its place in the last weight) for the pixels of some of the top level's rows.
template <typename Visit>
void AmxPass::for_each_top_pixel(std::int64_t first, std::int64_t end, const Visit& visit) const {
  const Level& level = levels_.back();
  for (std::int64_t y = first; y < end; ++y) {
    for (std::int64_t x = 0; x < level.width; ++x) {
      visit(y, x, plan_.sums ? 0 : (y * level.width + x) * level.channels);
    }
  }
}

std::vector<ConvolutionShape> AmxPass::layers() const {
  std::vector<ConvolutionShape> result{input_.as_convolution()};
  for (const Level& level : levels_) {
    if (level.convolution) result.push_back(level.convolution->shape());
    if (level.skip) result.push_back(level.skip->shape());
  }
  return result;
}

std::int64_t AmxPass::last_size() const {
  const Level& level = levels_.back();
  return (plan_.sums ? 1 : level.height * level.width) * level.channels;
}

std::vector<at::Tensor> AmxPass::as_network(const std::vector<AmxLayerWeights>& layers,
                                            const at::Tensor& last,
                                            const at::Tensor& last_bias) const {
  std::vector<at::Tensor> result(plan_.last + 2);
  auto next = layers.begin();
  for (std::size_t i = 0; i < plan_.layers.size(); ++i) {
    const Layer& layer = plan_.layers[i];
    const auto& [weight, bias] = *next++;
    result[layer.weight] = i == 0 ? input_.as_network(weight) : gradient_as_network(layer, weight);
    result[layer.weight + 1] = bias;
    if (levels_[i].skip) {
      result[layer.skip->weight] = (next++)->weight;
      result[layer.skip->weight + 1] = bias;
    }
  }
  const Level& level = levels_.back();
  const at::Tensor by_channel = last.view({-1, level.channels}).t();
  result[plan_.last] = plan_.sums
                           ? by_channel.reshape({1, level.channels})
                           : by_channel.reshape({1, level.channels, level.height, level.width});
  result[plan_.last + 1] = last_bias;
  return result;
}

}  // namespace stanley
