#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <functional>
#include <memory>

#include "energy/convolution.hpp"
#include "energy/image_layout.hpp"
#include "energy/network.hpp"
#include "energy/vectorized.hpp"

namespace stanley {

/// Filters of 4×4 that do, with stride 2, what these of 3×3 and a mean over 2×2 pixels do.
at::Tensor with_mean(const at::Tensor& weight);
/// Its adjoint: gradients of the latter to those of the former.
at::Tensor adjoint_of_mean(const at::Tensor& gradient);

/// A residual block of the resnet with its gradient with respect to the input, in float32, for
/// blocks of images. Its halving needs no step of its own: a mean over 2×2 pixels after a 3×3
/// convolution makes a 4×4 convolution of stride 2 of it, and may go before a 1×1 convolution.
class Residual {
 public:
  /// What one thread needs for one block of images, between forward() and backward().
  struct Workspace {
    AlignedBuffer<float> input_derivative, middle, middle_derivative;
    /// Without a border, [block, height, width, channels] of the output: what the skip connection
    /// makes, and, where it halves, of what, with the input's channels.
    AlignedBuffer<float> skip, mean;
  };

  /// What one thread needs on the way back.
  struct Scratch {
    float* row;        ///< row_size() elements
    std::byte* bytes;  ///< scratch_size() bytes
  };

  /// Images of `input` and `output` layout, at most `block` of them; `least_rows` of the matrix
  /// products (energy/convolution.hpp).
  Residual(const ResidualBlock& shape, const ImageLayout& input, const ImageLayout& output,
           std::int64_t block, std::int64_t least_rows);

  /// Its convolutions as they are computed.
  static ConvolutionLayer first_layer(const ResidualBlock& shape);
  static ConvolutionLayer second_layer(const ResidualBlock& shape);

  Workspace make_workspace() const;
  std::int64_t row_size() const;
  std::size_t scratch_size() const;

  const ResidualBlock& shape() const { return shape_; }

  /// The block's weights, as the network lists them from `weight` on; the first that is not its
  /// own.
  const float* const* load(const float* const* weight);

  /// From the first `count` images at `hidden`, of which f is left there, to those at `out`.
  void forward(Workspace& workspace, const EnergyConfig& config, std::int64_t count, float* hidden,
               float* out, std::byte* scratch) const;

  /// Called for a group of one of the two convolutions with its input and the gradient of its
  /// output.
  using VisitGroup = std::function<void(bool second, const float* input, const float* output)>;

  /// From the gradients of the images at `out` to those of the images at `hidden`. Calls `visit`
  /// before it replaces the input of a group.
  void backward(Workspace& workspace, std::int64_t count, const float* out, float* hidden,
                Scratch scratch, const VisitGroup& visit) const;

  /// Those of the two convolutions, for the groups that backward() visits.
  struct FilterGradients {
    std::unique_ptr<FilterGradient> first, second;
  };
  FilterGradients make_filter_gradients() const;

  /// Elements of a sum of gradients of the skip connection's weights, which starts at zero; 0 where
  /// it has none. What the first `count` images add to it, and from the sum to [out, in].
  std::int64_t skip_sum_size() const {
    return shape_.halves ? input_.channels * output_.channels : 0;
  }
  void add_skip_weights(const Workspace& workspace, std::int64_t count, const float* out,
                        float* sum) const;
  void finish_skip(const float* sum, float* weight) const;

 private:
  std::int64_t skip_size() const { return output_.height * output_.row_size(); }
  std::int64_t mean_size() const {
    return shape_.halves ? output_.height * output_.width * input_.channels : 0;
  }
  double skip_flops() const {
    return shape_.halves ? 2.0 * static_cast<double>(skip_size() * input_.channels) : 0;
  }
  void load_skip(const float* weight, const float* bias);
  void keep_skip(const float* image, float* mean, float* skip) const;
  void add_skip(const float* out, float* row, float* hidden) const;

  ResidualBlock shape_;
  ImageLayout input_, middle_, output_;
  std::int64_t block_;
  std::unique_ptr<Convolution> first_, second_;
  AlignedBuffer<float> skip_weight_, skip_adjoint_, skip_bias_;  // [in, out], [out, in], [out]
};

}  // namespace stanley
