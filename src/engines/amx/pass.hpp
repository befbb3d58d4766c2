#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

#include "energy/plan.hpp"
#include "engines/amx/convolution.hpp"
#include "engines/amx/input.hpp"

namespace stanley {

/// Called for a layer with the images that it takes and the gradients of those that it makes: whole
/// ones.
using VisitTileLayer =
    std::function<void(std::size_t layer, const PixelRows& input, const PixelRows& gradient)>;

/// The gradients of a layer's weight [filters, channels, kernel, kernel] and bias [filters], filled
/// up to whole tiles.
struct AmxLayerWeights {
  at::Tensor weight, bias;
};

/// A plan in bfloat16 for sixteen states at a time, by tile products. Without skip connections: a
/// few rows of each level as soon as those that they need are there, so that all but the
/// derivatives stays in a core's cache from when it is made until it is used. With skip
/// connections, and where threads work together on a block: one level after the other.
class AmxPass {
 public:
  /// What one thread needs; allocated once.
  struct Scratch {
    AmxFirstLayer::Workspace input;
    AlignedBuffer<float> sums;
  };

  /// What a level, the images that one layer makes, holds of one block of states. Where there are
  /// skip connections, gradients take the place of what they are gradients of.
  struct Images {
    PixelRows hidden;  // z, where a skip connection reads it
    PixelRows values, derivatives, gradients;
    PixelRows mean,
        skip;  // where z has a skip connection that convolves: its input and its product
    std::int64_t values_made = 0, gradients_made = 0;  // rows
  };

  /// What one block needs; allocated once.
  struct Workspace {
    std::vector<Images> images;
    std::array<float, tile_images> energies;
  };

  /// This thread's share of the work on one block.
  struct Task {
    const AmxTiles& tiles;
    Share share;
    Scratch& scratch;
    Workspace& workspace;
    const float* factor = unit_factors.data();  ///< [image]: of each energy, on the way back
  };

  /// `keeps_images`: whole ones, for gradients of weights.
  AmxPass(const Plan& plan, bool keeps_images);

  /// The network's weights and biases in order.
  void load(const std::vector<at::Tensor>& weights);

  Scratch make_scratch() const { return {input_.make_workspace(), AlignedBuffer<float>(run_sums)}; }
  /// `shared`: for threads that work together.
  Workspace make_workspace(bool shared) const;

  /// Energies of the first `count` states at `state` to the workspace. The thread of rank 0 finds
  /// the energies there.
  void forward(const Task& task, std::int64_t count, const float* state) const;

  /// Their gradients, after forward().
  void backward(const Task& task, float* gradient) const;

  /// After forward() of all the work: adds each energy's factor times its gradient with respect to
  /// the last weight to `last` [last_size(), image], and calls visit(layer, input, gradient) for
  /// each of layers(), with the gradients of its outputs times that factor.
  void backward_to_weights(const Task& task, float* last, const VisitTileLayer& visit) const;

  /// Of all but the last layer, each with its skip connection's convolution behind it, if it has
  /// one; the first one is of the input's taps.
  std::vector<ConvolutionShape> layers() const;
  /// Elements of the last weight, [pixel, channel] or [channel].
  std::int64_t last_size() const;
  /// The gradients of layers() and of the last one [last_size()] in the order of the network's
  /// weights, filled up.
  std::vector<at::Tensor> as_network(const std::vector<AmxLayerWeights>& layers,
                                     const at::Tensor& last, const at::Tensor& last_bias) const;

 private:
  struct Level {
    std::int64_t height, width, channels;
    std::size_t layer;  // of layers() that makes it; its skip connection's follows
    std::optional<AmxConvolution> convolution{};  // from the level below; none: the input's
    std::optional<AmxConvolution> skip{};         // where the skip connection to here has one
    std::optional<std::size_t> skip_reader{};     // the level whose skip connection reads z

    /// Rows that are made at a time, so that products have pixels enough: on the way up,
    std::int64_t rows_up() const { return std::max<std::int64_t>(1, run_pixels / width); }
    /// and on the way down, where each pixel of a square of 2×2 has weights of its own.
    std::int64_t rows_down() const { return 2 * std::max<std::int64_t>(1, 2 * run_pixels / width); }
  };

  std::size_t top() const { return levels_.size() - 1; }
  bool level_by_level(const Share& share) const { return share.together || has_skips_; }
  PixelRows& gradients(const Task& task, std::size_t level) const;
  PixelRows* skip_to(const Task& task, std::size_t level) const;

  void make_values(const Task& task, std::size_t level, std::int64_t end) const;
  void make_value_rows(const Task& task, std::size_t level, std::int64_t first,
                       std::int64_t end) const;
  void make_skip_rows(const Task& task, std::size_t level, std::int64_t first,
                      std::int64_t end) const;
  void add_energies_of_row(const Task& task, std::int64_t y) const;

  void make_gradients(const Task& task, std::size_t level, std::int64_t end) const;
  void make_level_gradients(const Task& task, std::size_t level) const;
  void make_gradient_rows(const Task& task, std::size_t level, std::int64_t first,
                          std::int64_t end) const;
  void start_gradients(const Task& task, std::int64_t first, std::int64_t end) const;
  template <typename Visit>
  void for_each_top_pixel(std::int64_t first, std::int64_t end, const Visit& visit) const;

  Plan plan_;
  bool has_skips_, keeps_images_;
  std::vector<Level> levels_;  // the input convolution's first
  AmxFirstLayer input_;
  AlignedBuffer<float> last_weight_;  // [last_size()]
  float last_bias_ = 0;
};

}  // namespace stanley
