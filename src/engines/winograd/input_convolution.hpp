#pragma once

#include <algorithm>

#include "energy/operation_times.hpp"
#include "energy/plan.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/first_convolution.hpp"
#include "kernels/image_layout.hpp"
#include "kernels/memory.hpp"

namespace stanley {

/// The first convolution of the image networks, 3×3 of stride 1 and padding 1 over the few channels
/// of a state, and its gradient with respect to the state, one state at a time.
class InputConvolution {
 public:
  /// What one thread needs.
  struct Workspace {
    AlignedBuffer<float> state;  // [channel, height + 2, width + 2], its border zero
    AlignedBuffer<float> rows;   // three of an image's gradient, see backward()
    AlignedBuffer<float> sums;   // one of a state's gradient
  };

  /// From states of this shape to `filters` channels of images of this layout.
  InputConvolution(const StateShape& shape, std::int64_t filters, const ImageLayout& output)
      : shape_(shape), output_(output), filters_(filters), taps_(shape[0] * 9) {}

  Workspace make_workspace() const {
    return {AlignedBuffer<float>(shape_[0] * (shape_[1] + 2) * (shape_[2] + 2)),
            AlignedBuffer<float>(3 * ring_row_size()),
            AlignedBuffer<float>(whole_lanes(shape_[2]))};
  }

  /// weight [filter, channel, 3, 3], bias [filter].
  void load(const float* weight, const float* bias) {
    const std::int64_t channels = output_.channels;
    weight_ = AlignedBuffer<float>(taps_ * channels);
    bias_ = AlignedBuffer<float>(channels);
    for (std::int64_t filter = 0; filter < filters_; ++filter) {
      for (std::int64_t tap = 0; tap < taps_; ++tap) {
        weight_.data()[tap * channels + filter] = weight[filter * taps_ + tap];
      }
    }
    std::copy_n(bias, filters_, bias_.data());
  }

  /// From a state [channel, height, width] to an image.
  void forward(Workspace& workspace, const float* state, float* image) const {
    const Timed timed(Operation::input_convolution, flops());
    pad(workspace, state);
    convolve_first(output_, shape_[0], workspace.state.data(), weight_.data(), bias_.data(), image);
  }

  /// From the gradient of an image to that of its state.
  void backward(Workspace& workspace, const float* image, float* gradient) const {
    const Timed timed(Operation::input_convolution, flops());
    const std::int64_t height = shape_[1], width = shape_[2];
    load_row(workspace, image, -1);
    load_row(workspace, image, 0);
    for (std::int64_t y = 0; y < height; ++y) {
      load_row(workspace, image, y + 1);
      const float* rows[] = {ring_row(workspace, y - 1), ring_row(workspace, y),
                             ring_row(workspace, y + 1)};
      for (std::int64_t channel = 0; channel < shape_[0]; ++channel) {
        first_gradient_row(width, output_.channels, rows,
                           weight_.data() + channel * 9 * output_.channels, workspace.sums.data());
        std::copy_n(workspace.sums.data(), width, gradient + (channel * height + y) * width);
      }
    }
  }

  /// Elements of a sum of weights, [tap, channel of the image], and of one of biases.
  std::int64_t weight_size() const { return taps_ * output_.channels; }
  std::int64_t bias_size() const { return output_.channels; }

  /// Adds the gradients of weight and bias, from a state and the gradient of its image.
  void add_weights(Workspace& workspace, const float* state, const float* image, float* weight,
                   float* bias) const {
    pad(workspace, state);
    add_first_weights(output_, shape_[0], workspace.state.data(), image, weight);
    for (std::int64_t y = 0; y < output_.height; ++y) {
      add_pixels(output_.width, output_.channels, image + output_.row(y), bias);
    }
  }

  /// From such sums to the shapes of load().
  void store_weights(const float* weight_sum, const float* bias_sum, float* weight,
                     float* bias) const {
    for (std::int64_t filter = 0; filter < filters_; ++filter) {
      for (std::int64_t tap = 0; tap < taps_; ++tap) {
        weight[filter * taps_ + tap] = weight_sum[tap * output_.channels + filter];
      }
    }
    std::copy_n(bias_sum, filters_, bias);
  }

 private:
  double flops() const {
    return 2.0 * static_cast<double>(taps_ * filters_ * output_.height * output_.width);
  }

  void pad(Workspace& workspace, const float* state) const {
    const std::int64_t rows = shape_[0] * shape_[1], width = shape_[2];
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int64_t y = row / shape_[1] * (shape_[1] + 2) + row % shape_[1] + 1;
      std::copy_n(state + row * width, width, workspace.state.data() + y * (width + 2) + 1);
    }
  }

  std::int64_t ring_row_size() const { return (whole_lanes(shape_[2]) + 2) * output_.channels; }

  /// Where row y of three in turn stands.
  float* ring_row(Workspace& workspace, std::int64_t y) const {
    return workspace.rows.data() + (y + 3) % 3 * ring_row_size();
  }

  /// Row y of the image; zeros above and below it.
  void load_row(Workspace& workspace, const float* image, std::int64_t y) const {
    if (y >= 0 && y < output_.height) {
      surround_row(output_.width, output_.channels, image + output_.row(y), ring_row(workspace, y));
    } else {
      std::fill_n(ring_row(workspace, y), ring_row_size(), 0.0F);
    }
  }

  StateShape shape_;
  ImageLayout output_;
  std::int64_t filters_, taps_;         // a tap: (channel, y, x)
  AlignedBuffer<float> weight_, bias_;  // [tap, filter], [filter]
};

}  // namespace stanley
