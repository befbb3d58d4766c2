#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/image_layout.hpp"
#include "kernels/memory.hpp"

namespace stanley {

/// A skip connection in float32 with its gradients, one image at a time: the image itself, or the
/// 1×1 convolution of its means over squares of 2×2 pixels.
class WinogradSkip {
 public:
  /// From images of `input` layout to what is added to those of `output` layout.
  WinogradSkip(const ImageLayout& input, const ImageLayout& output, bool convolves);

  /// weight [filters, channels, 1, 1], bias [filters], of one that convolves.
  void load(const at::Tensor& weight, const at::Tensor& bias);

  /// Elements of what is added to an image, [height, width, channels] of the output; of the means
  /// that it is made of; of a row of the input's gradient; and of a sum of the weight's gradients,
  /// which starts at zero. The last three are 0 without a convolution.
  std::int64_t size() const { return output_.height * output_.row_size(); }
  std::int64_t mean_size() const { return output_.height * row_size(); }
  std::int64_t row_size() const { return convolves_ ? output_.width * input_.channels : 0; }
  std::int64_t sum_size() const { return convolves_ ? input_.channels * output_.channels : 0; }

  /// From an image to its means and what is to be added; and adds that.
  void forward(const float* image, float* mean, float* skip) const;
  void add(const float* skip, float* output) const;

  /// Adds to the gradient of the image what comes from that of the output; `row` has row_size().
  void add_gradient(const float* output, float* row, float* image) const;

  /// Adds to a sum of the weight's gradients; and from the sum to [filters, channels, 1, 1].
  void add_weight(const float* mean, const float* output, float* sum) const;
  void finish(const float* sum, at::Tensor& weight) const;

 private:
  double flops() const { return 2.0 * static_cast<double>(mean_size() * output_.channels); }

  ImageLayout input_, output_;
  bool convolves_;
  AlignedBuffer<float> weight_, adjoint_, bias_;  // [channel, filter], [filter, channel], [filter]
};

}  // namespace stanley
