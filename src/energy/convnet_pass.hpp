#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "energy/convolution.hpp"
#include "energy/images.hpp"
#include "energy/input_convolution.hpp"
#include "energy/network.hpp"
#include "energy/operation_times.hpp"
#include "energy/vectorized.hpp"

namespace stanley {

/// States of one pass through the network: so few that all activations stay in a core's cache.
constexpr std::int64_t convnet_block = 16;

/// One forward and one backward pass of the convnet for a block of states: what its engines share.
/// Activations are stored channels last. Hidden image i's value is replaced by the
/// gradient of its convolution's output on the way back.
class ConvnetPass {
 public:
  /// What one thread needs for one block; allocated once. A hidden image is the input of a strided
  /// layer, or of the last layer, in groups of as many as that takes at a time.
  struct Workspace {
    InputConvolution::Workspace input;
    std::vector<AlignedBuffer<float>> value;       // one group, or the block
    std::vector<AlignedBuffer<float>> derivative;  // f′ at each activation of the block
    AlignedBuffer<std::byte> scratch;
  };

  /// `keeps_values`, for a gradient of weights: until the gradients of their layer's outputs
  /// replace them; else a layer's values go when it has been through a group.
  ConvnetPass(const EnergyConfig& config, const StateShape& shape, bool keeps_values)
      : config_(config),
        keeps_values_(keeps_values),
        shape_(shape),
        layers_(convnet_layers(config.channels, shape)),
        // The first layer has few input channels, the last one is a scalar product for each state.
        strided_(make_winograd_chain({layers_.begin() + 1, layers_.end() - 1}, convnet_block,
                                     keeps_values ? rows_for_weights : rows_for_states)),
        input_(shape, config.channels, layouts()[0]) {}

  /// The network's weights and biases in order.
  void load(const std::vector<const float*>& weights) {
    input_.load(weights[0], weights[1]);
    for (std::size_t i = 0; i < levels(); ++i) {
      strided(i).load(weights[2 * i + 2], weights[2 * i + 3]);
    }
    load_last(weights[weights.size() - 2], *weights.back());
  }

  std::size_t levels() const { return strided_.convolutions.size(); }
  const std::vector<ConvolutionLayer>& layers() const { return layers_; }
  const std::vector<ImageLayout>& layouts() const { return strided_.layouts; }
  const InputConvolution& input() const { return input_; }
  Convolution& strided(std::size_t level) { return *strided_.convolutions[level]; }
  const Convolution& strided(std::size_t level) const { return *strided_.convolutions[level]; }

  Workspace make_workspace() const {
    Workspace workspace;
    workspace.input = input_.make_workspace();
    for (std::size_t level = 0; level < layouts().size(); ++level) {
      const std::int64_t size = layouts()[level].size();
      workspace.value.emplace_back(size * (keeps_values_ ? convnet_block : group(level)));
      workspace.derivative.emplace_back(size * convnet_block);
    }
    std::size_t scratch = 0;
    for (const auto& layer : strided_.convolutions) {
      scratch = std::max(scratch, layer->scratch_size());
    }
    workspace.scratch = AlignedBuffer<std::byte>(static_cast<std::int64_t>(scratch));
    return workspace;
  }

  /// Fills the top values with the activations of the first `count` states at `state`, at most a
  /// block.
  void forward(Workspace& workspace, std::int64_t count, const float* state) const {
    forward(workspace, levels(), 0, count, state);
  }

  /// The energy of state i, after forward().
  float energy(Workspace& workspace, std::int64_t i) const {
    const Timed timed(Operation::output);
    float sum = last_bias_;
    const float* weight = last_weight_.data();
    for_each_row(layouts().back(), 1, [&](std::int64_t row) {
      sum += dot(layouts().back().row_size(), value(workspace, levels(), i) + row, weight);
      weight += layouts().back().row_size();
    });
    return sum;
  }

  /// Replaces the top value of state i by the gradient of its energy.
  void start_backward(Workspace& workspace, std::int64_t i) const {
    const Timed timed(Operation::output);
    const std::int64_t size = layouts().back().size();
    const float* weight = last_weight_.data();
    for_each_row(layouts().back(), 1, [&](std::int64_t row) {
      multiply(layouts().back().row_size(), weight,
               workspace.derivative.back().data() + i * size + row,
               value(workspace, levels(), i) + row);
      weight += layouts().back().row_size();
    });
  }

  /// The same of `factor` times the energy, whose gradient with respect to the last layer's weights
  /// it adds to `last_weight` [height, width, channel].
  void start_backward(Workspace& workspace, std::int64_t i, float factor,
                      float* last_weight) const {
    for_each_row(layouts().back(), 1, [&](std::int64_t row) {
      add_scaled(layouts().back().row_size(), factor, value(workspace, levels(), i) + row,
                 last_weight);
      last_weight += layouts().back().row_size();
    });
    start_backward(workspace, i);
    for_each_row(layouts().back(), 1, [&](std::int64_t row) {
      scale(layouts().back().row_size(), factor, value(workspace, levels(), i) + row);
    });
  }

  /// From start_backward() of these states down. Calls layer(level, input, output) for each group
  /// of the strided layer above `level`, with its input's values (where they are kept) and the
  /// gradient of its output, and bottom(i, gradient) for each state, with the gradient of the first
  /// convolution's output.
  template <typename Layer, typename Bottom>
  void backward(Workspace& workspace, std::int64_t count, const Layer& layer,
                const Bottom& bottom) const {
    backward(workspace, levels(), 0, count, layer, bottom);
  }

 private:
  /// weight [channel, height, width], to the layout of a top image without its surroundings.
  void load_last(const float* weight, float bias) {
    const ImageLayout& top = layouts().back();
    const std::int64_t pixels = top.height * top.width;
    last_weight_ = AlignedBuffer<float>(pixels * top.channels);
    for (std::int64_t channel = 0; channel < layers_.back().in; ++channel) {
      for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
        last_weight_.data()[pixel * top.channels + channel] = weight[channel * pixels + pixel];
      }
    }
    last_bias_ = bias;
  }

  /// Images of this level that are worked on together.
  std::int64_t group(std::size_t level) const {
    return level < levels() ? strided(level).group() : convnet_block;
  }

  /// The image of this level and place in the block.
  float* value(Workspace& workspace, std::size_t level, std::int64_t i) const {
    return workspace.value[level].data() +
           (keeps_values_ ? i : i % group(level)) * layouts()[level].size();
  }

  /// Depth first, so that what a layer writes is read while it is in the cache: the group of this
  /// level that starts at image `first` of the block.
  void forward(Workspace& workspace, std::size_t level, std::int64_t first, std::int64_t count,
               const float* state) const {
    const ImageLayout& layout = layouts()[level];
    const std::int64_t step = level == 0 ? 1 : group(level - 1);
    const std::int64_t end = std::min(count, first + group(level));
    for (std::int64_t i = first; i < end; i += step) {
      const std::int64_t images = std::min(step, end - i);
      if (level > 0) {
        forward(workspace, level - 1, i, count, state);
        strided(level - 1).forward(images, value(workspace, level - 1, i),
                                   value(workspace, level, i), workspace.scratch.data());
      } else {
        input_.forward(workspace.input, state + i * element_count(shape_),
                       value(workspace, level, i));
      }
      activate_images(config_, layout, images, value(workspace, level, i),
                      workspace.derivative[level].data() + i * layout.size());
    }
  }

  template <typename Layer, typename Bottom>
  void backward(Workspace& workspace, std::size_t level, std::int64_t first, std::int64_t count,
                const Layer& layer, const Bottom& bottom) const {
    const std::int64_t end = std::min(count, first + group(level));
    if (level == 0) {
      for (std::int64_t i = first; i < end; ++i) bottom(i, value(workspace, 0, i));
      return;
    }
    const ImageLayout& below = layouts()[level - 1];
    for (std::int64_t i = first; i < end; i += group(level - 1)) {
      layer(level - 1, value(workspace, level - 1, i), value(workspace, level, i));
      strided(level - 1).backward(std::min(group(level - 1), end - i), value(workspace, level, i),
                                  workspace.derivative[level - 1].data() + i * below.size(),
                                  value(workspace, level - 1, i), workspace.scratch.data());
      backward(workspace, level - 1, i, count, layer, bottom);
    }
  }

  EnergyConfig config_;
  bool keeps_values_;
  StateShape shape_;
  std::vector<ConvolutionLayer> layers_;
  ConvolutionChain strided_;  // and the layouts of the hidden images
  InputConvolution input_;
  AlignedBuffer<float> last_weight_;  // [height, width, channel]
  float last_bias_ = 0;
};

}  // namespace stanley
