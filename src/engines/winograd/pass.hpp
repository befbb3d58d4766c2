#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "energy/plan.hpp"
#include "engines/winograd/convolution.hpp"
#include "engines/winograd/input_convolution.hpp"
#include "engines/winograd/skip.hpp"

namespace stanley {

/// States of one pass through a network: enough rows for the matrix products of small images, so
/// few that what belongs to them stays in a core's cache.
constexpr std::int64_t winograd_block = 16;

/// One forward and one backward pass of a plan in float32 for a block of states, by Winograd's
/// minimal filtering: what the engine and the gradient of weights share. Images are stored channels
/// last, one behind the other.
class WinogradPass {
 public:
  /// What a level, the images that one layer makes, holds of a block. A gradient with respect to z
  /// takes the place of its value.
  struct Images {
    AlignedBuffer<float> value, derivative;            // f(z) and f′(z)
    AlignedBuffer<float> mean, skip;                   // of the skip connection that z has
    std::int64_t values_made = 0, gradients_made = 0;  // of the block's
  };

  /// What one thread needs for one block; allocated once.
  struct Workspace {
    InputConvolution::Workspace input;
    std::vector<Images> images;  // by level
    AlignedBuffer<float> row;
    AlignedBuffer<std::byte> scratch;
  };

  /// Called on the way back, where given. A layer's images come in the order of the states.
  struct Visit {
    /// The gradient of the first layer's z for state i.
    std::function<void(std::int64_t i, const float* gradient)> state;
    /// The input of a group of a layer's convolution, and the gradient of its output.
    std::function<void(std::size_t layer, const float* input, const float* output)> group{};
    /// The means of one image that a layer's skip connection reads, and the same gradient.
    std::function<void(std::size_t layer, const float* mean, const float* output)> skip{};
  };

  /// `for_weights`: the values are kept until the gradients of their layer's outputs replace them;
  /// else they may go when they have been read.
  WinogradPass(const Plan& plan, bool for_weights);

  void load(const std::vector<at::Tensor>& weights);
  Workspace make_workspace() const;

  /// Of the first `count` states at `state`, at most a block.
  void forward(Workspace& workspace, std::int64_t count, const float* state) const;

  /// The energy of state i, after forward().
  float energy(Workspace& workspace, std::int64_t i) const;

  /// Replaces the top image of state i by the gradient of `factor` times its energy, whose gradient
  /// with respect to the last weight it adds to `last` [last_size()], unless that is null.
  void start_backward(Workspace& workspace, std::int64_t i, float factor = 1.0F,
                      float* last = nullptr) const;

  /// From start_backward() of these states down.
  void backward(Workspace& workspace, std::int64_t count, const Visit& visit) const;

  const Plan& plan() const { return plan_; }
  const InputConvolution& input() const { return input_; }
  const WinogradSkip* skip(std::size_t layer) const;
  /// Of all layers but the first, for the groups that backward() visits.
  std::unique_ptr<FilterGradient> make_filter_gradient(std::size_t layer) const;
  /// Elements of the last weight, and from those to the network's.
  std::int64_t last_size() const { return last_pixels() * levels_.back().layout.channels; }
  void store_last(const float* last, at::Tensor& weight) const;

 private:
  struct Level {
    ImageLayout layout;
    std::optional<WinogradConvolution> convolution{};  // from the level below; none: the input's
    std::optional<WinogradSkip> skip{};                // to here
    std::optional<std::size_t> skip_reader{};          // the level whose skip connection reads z
    std::int64_t kept = winograd_block;                // images in memory, in turn

    std::int64_t group() const { return convolution ? convolution->group() : 1; }
    float* value(Images& images, std::int64_t i) const {
      return images.value.data() + i % kept * layout.size();
    }
    float* derivative(Images& images, std::int64_t i) const {
      return images.derivative.data() + i * layout.size();
    }
  };

  static std::vector<Level> make_levels(const Plan& plan, bool for_weights);
  /// Images of the level below that a group up to before `end` waits for: what it reads, or, where
  /// there are skip connections, all, layer by layer, while the layer's filters are in the cache.
  std::int64_t needed(std::int64_t end, std::int64_t count) const { return deep_ ? end : count; }
  void make_values(Workspace& workspace, std::size_t level, std::int64_t end, std::int64_t count,
                   const float* state) const;
  void make_gradients(Workspace& workspace, std::size_t level, std::int64_t end, std::int64_t count,
                      const Visit& visit) const;
  void add_skip_gradient(Workspace& workspace, std::size_t level, std::int64_t i,
                         const Visit& visit) const;
  std::int64_t last_pixels() const {
    return plan_.sums ? 1 : levels_.back().layout.height * levels_.back().layout.width;
  }
  /// Of number i of the network's last weight.
  std::int64_t last_place(std::int64_t i) const {
    return i % last_pixels() * levels_.back().layout.channels + i / last_pixels();
  }
  template <typename Pieces>
  void for_each_piece(const Pieces& visit) const;

  Plan plan_;
  std::int64_t elements_;  // of a state
  bool deep_;  // each level's images just before they are read, so that they are in the cache
  std::vector<Level> levels_;
  InputConvolution input_;
  AlignedBuffer<float> last_weight_;  // [height, width, channel], or [channel] of all pixels
  float last_bias_ = 0;
};

}  // namespace stanley
