#include "engines/amx/input.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

namespace stanley {

AmxFirstLayer::AmxFirstLayer(const StateShape& shape, std::int64_t filters, bool keeps_taps)
    : channels_(shape[0]),
      height_(shape[1]),
      width_(shape[2]),
      filters_(whole_tiles(filters)),
      keeps_taps_(keeps_taps) {}

void AmxFirstLayer::load(const at::Tensor& weight, const at::Tensor& bias) {
  const c10::NoGradGuard no_gradient;
  const std::int64_t filters = weight.size(0);
  // [filter, y, x · channel]: as a row of pixels stands in memory.
  const at::Tensor taps = weight.permute({0, 2, 3, 1}).reshape({filters, 3, 3 * channels_});
  forward_.load(at::constant_pad_nd(taps, {0, 2 * pairs() - 3 * channels_})
                    .reshape({filters, 1, taps_size()}));
  forward_.load_bias(bias);
  backward_.load(at::constant_pad_nd(taps, {0, 0, 0, 0, 0, filters_ - filters})
                     .permute({1, 2, 0})
                     .reshape({9 * channels_, 1, filters_}));
}

AmxFirstLayer::Workspace AmxFirstLayer::make_workspace() const {
  Workspace workspace;
  workspace.scratch = AlignedBuffer<float>((entries() + 1) * tile_images);
  workspace.rows = AlignedBuffer<Bfloat16>(5 * row_size());
  // Whole tiles of sources.
  const std::int64_t channels = (taps_size() + tile_depth - 1) / tile_depth * tile_depth;
  workspace.taps = keeps_taps_ ? PixelRows(height_, width_, channels)
                               : PixelRows(1, std::min(width_, run_pixels), channels);
  workspace.gradient = AlignedBuffer<float>(3 * gradient_row_size());
  return workspace;
}

void AmxFirstLayer::start(Workspace& workspace, const Share& share, std::int64_t count,
                          const float* states) const {
  workspace.count = count;
  workspace.states = states;
  workspace.first = share.first(height_);
  workspace.end = share.end(height_);
  workspace.loaded = std::max<std::int64_t>(workspace.first - 1, 0);
}

void AmxFirstLayer::load_rows(Workspace& workspace, std::int64_t end) const {
  const Timed timed(Operation::input_convolution);
  for (; workspace.loaded < end; ++workspace.loaded) {
    load_state_row(workspace.count, channels_, height_, width_, workspace.loaded, workspace.states,
                   workspace.scratch.data(),
                   workspace.rows.data() + workspace.loaded % 4 * row_size());
  }
}

void AmxFirstLayer::backward(const AmxTiles& tiles, Workspace& workspace, std::int64_t y,
                             const PixelRows& gradient, float* sums, float* state_gradients) const {
  float* const rows[] = {gradient_row(workspace, y - 1), gradient_row(workspace, y),
                         gradient_row(workspace, y + 1)};
  for (std::int64_t x = 0; x < width_; x += run_pixels) {
    const PixelRun span{.first_row = 0,
                        .end_row = 1,
                        .source = {gradient.row(y) + x * gradient.pixel_size()},
                        .pixels = std::min(run_pixels, width_ - x)};
    convolve_runs(
        Operation::input_convolution, Operation::input_convolution, tiles, backward_, &span, 1,
        gradient.pixel_size(), sums,
        [&](std::int64_t, std::int64_t i, std::int64_t tap, std::int64_t taps, const float* sum) {
          const std::int64_t left = (x + i) * channels_ * tile_images;
          float* const at[] = {rows[0] + left, rows[1] + left, rows[2] + left};
          add_taps(channels_, tap, std::min(tap + taps, 9 * channels_), sum, at);
        });
  }
  finish_row(workspace, y - 1, state_gradients);
  if (y + 1 < backward_rows(workspace).second) return;
  finish_row(workspace, y, state_gradients);
  finish_row(workspace, y + 1, state_gradients);
}

void AmxFirstLayer::finish_row(Workspace& workspace, std::int64_t y, float* state_gradients) const {
  float* row = gradient_row(workspace, y);
  if (y >= workspace.first && y < workspace.end) {
    store_state_row(workspace.count, channels_, height_, width_, y, row + channels_ * tile_images,
                    state_gradients);
  }
  std::fill_n(row, gradient_row_size(), 0.0F);
}

ConvolutionShape AmxFirstLayer::as_convolution() const {
  return whole_tiles(ConvolutionShape{.height = height_,
                                      .width = width_,
                                      .channels = taps_size(),
                                      .filters = filters_,
                                      .kernel = 1,
                                      .stride = 1,
                                      .padding = 0});
}

at::Tensor AmxFirstLayer::as_network(const at::Tensor& weight) const {
  return weight.narrow(1, 0, taps_size())
      .reshape({filters_, 3, 2 * pairs()})
      .narrow(2, 0, 3 * channels_)
      .reshape({filters_, 3, 3, channels_})
      .permute({0, 3, 1, 2});
}

}  // namespace stanley
