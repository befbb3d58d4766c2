#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "energy/network.hpp"
#include "engines/amx/convolution.hpp"
#include "engines/state_blocks.hpp"
#include "kernels/amx_elementwise.hpp"

namespace stanley {

/// The first convolution of the image networks by tile products, 3×3 of stride 1 and padding 1 over
/// the few channels of a state, and its gradient with respect to the state, row by row.
class AmxFirstLayer {
 public:
  /// What one thread needs for its sixteen states.
  struct Workspace {
    std::int64_t count = 0;
    const float* states = nullptr;
    std::int64_t first = 0, end = 0;  // rows that this thread makes
    std::int64_t loaded = 0;          // rows of the states
    AlignedBuffer<float> scratch;
    AlignedBuffer<Bfloat16> rows;   // four of the states in turn, and one of zeros
    PixelRows taps;                 // of some pixels, or of all
    AlignedBuffer<float> gradient;  // three rows of the states' gradient in turn
  };

  /// Of states of this shape to so many filters. `keeps_taps`: of all pixels, for gradients of
  /// weights.
  AmxFirstLayer(const StateShape& shape, std::int64_t filters, bool keeps_taps);

  /// weight [filters, channels, 3, 3] and bias [filters], float32, of the network.
  void load(const at::Tensor& weight, const at::Tensor& bias);

  Workspace make_workspace() const;

  /// The first `count` states [channels, height, width] at `states` are the next: this share of
  /// their rows.
  void start(Workspace& workspace, const Share& share, std::int64_t count,
             const float* states) const;

  /// Row y, the share's first one or that which follows the last one. Calls finish(x, filter,
  /// filters, sums) with z.
  template <typename Finish>
  void forward(const AmxTiles& tiles, Workspace& workspace, std::int64_t y, float* sums,
               const Finish& finish) const {
    load_rows(workspace, std::min(y + 2, height_));
    for (std::int64_t x = 0; x < width_; x += run_pixels) {
      const PixelRun span{.first_row = 0,
                          .end_row = 1,
                          .source = {taps(workspace, y, x)},
                          .pixels = std::min(run_pixels, width_ - x)};
      for (std::int64_t i = 0; i < span.pixels; ++i) gather(workspace, y, x + i);
      convolve_runs(Operation::input_convolution, Operation::activations, tiles, forward_, &span, 1,
                    workspace.taps.pixel_size(), sums,
                    [&](std::int64_t, std::int64_t i, std::int64_t filter, std::int64_t filters,
                        const float* sum) { finish(x + i, filter, filters, sum); });
    }
  }

  /// Row y of the gradient of z, which follows the last one of backward_rows(). Row y - 1 of the
  /// states' gradients is then done, and after the last row also that.
  void backward(const AmxTiles& tiles, Workspace& workspace, std::int64_t y,
                const PixelRows& gradient, float* sums, float* state_gradients) const;

  /// The rows of the gradient of z that the share's rows of the states' gradients depend on: from
  /// the first to before the second, none for a share of none.
  std::pair<std::int64_t, std::int64_t> backward_rows(const Workspace& workspace) const {
    if (workspace.first == workspace.end) return {0, 0};
    return {std::max<std::int64_t>(workspace.first - 1, 0), std::min(workspace.end + 1, height_)};
  }

  /// The convolution of one pixel that it is where a pixel's taps, as kept, are its channels, and
  /// that one's weight [filters, channels, 1, 1] as the network's.
  ConvolutionShape as_convolution() const;
  at::Tensor as_network(const at::Tensor& weight) const;

 private:
  /// Entries of a row of states, of which each stands for itself and the next.
  std::int64_t entries() const { return (width_ + 2) * channels_; }
  std::int64_t row_size() const { return entries() * 2 * tile_images; }
  /// Entries that hold a row of a pixel's taps.
  std::int64_t pairs() const { return (3 * channels_ + 1) / 2; }
  std::int64_t taps_size() const { return 3 * pairs() * 2; }
  std::int64_t gradient_row_size() const { return entries() * tile_images; }

  void load_rows(Workspace& workspace, std::int64_t end) const;
  const Bfloat16* row(const Workspace& workspace, std::int64_t y) const {
    const bool inside = y >= 0 && y < height_;
    return workspace.rows.data() + (inside ? y % 4 : 4) * row_size();
  }
  /// Where the taps of pixel x of row y stand.
  Bfloat16* taps(Workspace& workspace, std::int64_t y, std::int64_t x) const {
    return workspace.taps.row(y) + (keeps_taps_ ? x : x % run_pixels) * workspace.taps.pixel_size();
  }
  /// Puts them there, as tiles of sources.
  void gather(Workspace& workspace, std::int64_t y, std::int64_t x) const {
    Bfloat16* to = taps(workspace, y, x);
    for (std::int64_t tap = 0; tap < 3; ++tap) {
      const Bfloat16* from = row(workspace, y + tap - 1) + x * channels_ * 2 * tile_images;
      for (std::int64_t i = 0; i < pairs(); ++i, to += 2 * tile_images) {
        std::copy_n(from + i * 4 * tile_images, 2 * tile_images, to);
      }
    }
  }
  float* gradient_row(Workspace& workspace, std::int64_t y) const {
    return workspace.gradient.data() + (y + 3) % 3 * gradient_row_size();
  }
  /// Stores row y of the states' gradients, where it is one of the share's, and clears its place.
  void finish_row(Workspace& workspace, std::int64_t y, float* state_gradients) const;

  std::int64_t channels_, height_, width_, filters_;
  bool keeps_taps_;
  AmxWeights forward_, backward_;
};

}  // namespace stanley
