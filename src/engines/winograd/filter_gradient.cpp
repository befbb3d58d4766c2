#include <algorithm>

#include "energy/operation_times.hpp"
#include "engines/winograd/convolution.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/matrix_product.hpp"

namespace stanley {
namespace {

/// One matrix product for each tap, of the inputs that it reaches and the gradients of the outputs:
/// [tap, input.channels, output.channels], and behind them the bias's.
class DirectFilterGradient : public FilterGradient {
 public:
  DirectFilterGradient(const ConvolutionShape& layer, const ImageLayout& input,
                       const ImageLayout& output, std::int64_t group)
      : layer_(layer), input_(input), output_(output), group_(group) {}

  std::int64_t sum_size() const override { return weight_size() + output_.channels; }

  void add(const float* input, const float* output, float* sum, std::byte* scratch) const override {
    auto* inputs = reinterpret_cast<float*>(scratch);
    float* outputs = inputs + taps() * rows() * input_.channels;
    gather(input, output, inputs, outputs);
    add_pixels(rows(), output_.channels, outputs, sum + weight_size());
    add_products(inputs, outputs, sum);
  }

  void finish(const float* sum, float* weight, float* bias) const override {
    for (std::int64_t out = 0; out < layer_.filters; ++out) {
      for (std::int64_t in = 0; in < layer_.channels; ++in) {
        for (std::int64_t tap = 0; tap < taps(); ++tap) {
          *weight++ = sum[(tap * input_.channels + in) * output_.channels + out];
        }
      }
    }
    std::copy_n(sum + weight_size(), layer_.filters, bias);
  }

  std::size_t scratch_size() const override {
    return static_cast<std::size_t>(rows() * (taps() * input_.channels + output_.channels)) *
           sizeof(float);
  }

 private:
  std::int64_t taps() const { return layer_.kernel * layer_.kernel; }
  std::int64_t rows() const { return group_ * output_.height * output_.width; }
  std::int64_t weight_size() const { return taps() * input_.channels * output_.channels; }

  /// Inputs to [tap, output pixel, channel], and outputs to [output pixel, channel].
  void gather(const float* input, const float* output, float* inputs, float* outputs) const {
    const Timed timed(Operation::transformations);
    const std::int64_t step = layer_.stride * input_.channels;
    for (std::int64_t tap = 0; tap < taps(); ++tap) {
      const std::int64_t down = tap / layer_.kernel - layer_.padding,
                         right = tap % layer_.kernel - layer_.padding;
      for (std::int64_t i = 0; i < group_; ++i) {
        for (std::int64_t y = 0; y < output_.height; ++y) {
          const float* from = input + i * input_.size() + input_.row(layer_.stride * y + down) +
                              right * input_.channels;
          for (std::int64_t x = 0; x < output_.width; ++x, inputs += input_.channels) {
            std::copy_n(from + x * step, input_.channels, inputs);
          }
        }
      }
    }
    for (std::int64_t i = 0; i < group_; ++i) {
      for (std::int64_t y = 0; y < output_.height; ++y, outputs += output_.row_size()) {
        std::copy_n(output + i * output_.size() + output_.row(y), output_.row_size(), outputs);
      }
    }
  }

  /// One product for each tap, of the transposed inputs and the outputs.
  void add_products(const float* inputs, const float* outputs, float* sum) const {
    const Timed timed(Operation::products, 2.0 * static_cast<double>(weight_size() * rows()));
    for (std::int64_t tap = 0; tap < taps(); ++tap) {
      multiply_matrices({.rows = input_.channels,
                         .depth = rows(),
                         .columns = output_.channels,
                         .left = inputs + tap * rows() * input_.channels,
                         .left_row = 1,
                         .left_term = input_.channels,
                         .right = outputs,
                         .result = sum + tap * input_.channels * output_.channels,
                         .adds = true});
    }
  }

  ConvolutionShape layer_;
  ImageLayout input_, output_;
  std::int64_t group_;
};

/// Winograd's sums are matrix products of inputs and output gradients, one for each point, before
/// the adjoint of the filters' transformation, which waits until all images are in: as
/// winograd_filter() makes them, and behind them the bias's.
class WinogradFilterGradient : public FilterGradient {
 public:
  WinogradFilterGradient(const ConvolutionShape& layer, const WinogradGroup& group)
      : layer_(layer), group_(group) {}

  std::int64_t sum_size() const override { return weight_size() + group_.columns(); }

  void add(const float* input, const float* output, float* sum, std::byte* scratch) const override {
    auto* inputs = reinterpret_cast<float*>(scratch);
    float* outputs = group_.outputs(inputs);
    transform(input, output, inputs, outputs, sum + weight_size());
    add_products(inputs, outputs, sum);
  }

  void finish(const float* sum, float* weight, float* bias) const override {
    winograd_filter_adjoint(group_.tiles, layer_.filters, layer_.channels, sum, weight);
    std::copy_n(sum + weight_size(), layer_.filters, bias);
  }

  std::size_t scratch_size() const override { return group_.scratch_size(); }

 private:
  std::int64_t weight_size() const { return group_.tiles.points() * group_.tiles.filter_size(); }

  void transform(const float* input, const float* output, float* inputs, float* outputs,
                 float* bias) const {
    const Timed timed(Operation::transformations);
    const ImageLayout& layout = group_.tiles.output;
    for (std::int64_t i = 0; i < group_.images; ++i) {
      group_.transform_input(i, input, inputs);
      group_.transform_gradient(i, output, outputs);
      for (std::int64_t y = 0; y < layout.height; ++y) {
        add_pixels(layout.width, layout.channels, output + i * layout.size() + layout.row(y), bias);
      }
    }
  }

  /// One product for each point, of the transposed inputs and the outputs.
  void add_products(const float* inputs, const float* outputs, float* sum) const {
    const std::int64_t rows = group_.rows(), depth = group_.tiles.depth();
    const Timed timed(Operation::products, 2.0 * static_cast<double>(weight_size() * rows));
    for (std::int64_t point = 0; point < group_.tiles.points(); ++point) {
      multiply_matrices({.rows = depth,
                         .depth = rows,
                         .columns = group_.columns(),
                         .left = inputs + point * group_.input_stride(),
                         .left_row = 1,
                         .left_term = depth,
                         .right = outputs + point * group_.output_stride(),
                         .result = sum + point * group_.tiles.filter_size(),
                         .result_panel = depth * panel_columns,
                         .result_row = panel_columns,
                         .adds = true});
    }
  }

  ConvolutionShape layer_;
  WinogradGroup group_;
};

}  // namespace

std::unique_ptr<FilterGradient> make_filter_gradient(const ConvolutionShape& layer,
                                                     const ImageLayout& input,
                                                     const ImageLayout& output,
                                                     std::int64_t group) {
  const WinogradGroup whole{winograd_tiles(layer, input, output), group};
  // Each of Winograd's sums, several for one weight, is read and written for a group, and should
  // get more terms from it than that takes.
  constexpr std::int64_t least_terms = 32;
  if (whole.rows() < least_terms) {
    return std::make_unique<DirectFilterGradient>(layer, input, output, group);
  }
  return std::make_unique<WinogradFilterGradient>(layer, whole);
}

}  // namespace stanley
