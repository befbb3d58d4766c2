#include <algorithm>

#include "energy/operation_times.hpp"
#include "engines/winograd/convolution.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/lanes.hpp"
#include "kernels/matrix_product.hpp"
#include "kernels/memory.hpp"
#include "kernels/winograd.hpp"

namespace stanley {
namespace {

/// Winograd's sums are matrix products of inputs and output gradients, one for each point, before
/// the adjoint of the filters' transformation, which waits until all images are in: as
/// winograd_filter() makes them, and behind them the bias's.
class WinogradFilterGradient : public FilterGradient {
 public:
  WinogradFilterGradient(const ConvolutionShape& layer, const WinogradTiles& tiles,
                         std::int64_t group)
      : layer_(layer),
        tiles_(tiles),
        group_(group),
        depth_(tiles.depth()),
        columns_(tiles.output.channels) {}

  std::int64_t sum_size() const override { return weight_size() + columns_; }

  void add(const float* input, const float* output, float* sum, std::byte* scratch) const override {
    auto* inputs = reinterpret_cast<float*>(scratch);
    float* outputs = inputs + tiles_.points() * input_stride();
    transform(input, output, inputs, outputs, sum + weight_size());
    add_products(inputs, outputs, sum);
  }

  void finish(const float* sum, float* weight, float* bias) const override {
    winograd_filter_adjoint(tiles_, layer_.filters, layer_.channels, sum, weight);
    std::copy_n(sum + weight_size(), layer_.filters, bias);
  }

  std::size_t scratch_size() const override {
    return static_cast<std::size_t>(tiles_.points() * (input_stride() + output_stride())) *
           sizeof(float);
  }

 private:
  std::int64_t weight_size() const { return tiles_.points() * tiles_.filter_size(); }
  std::int64_t rows() const { return group_ * tiles_.count(); }
  std::int64_t input_stride() const { return winograd_stride(rows(), depth_); }
  std::int64_t output_stride() const { return winograd_stride(rows(), columns_); }

  void transform(const float* input, const float* output, float* inputs, float* outputs,
                 float* bias) const {
    const Timed timed(Operation::transformations);
    const ImageLayout& layout = tiles_.output;
    for (std::int64_t i = 0; i < group_; ++i) {
      winograd_input(tiles_, input + i * tiles_.input.size(), input_stride(),
                     inputs + i * tiles_.count() * depth_);
      winograd_output_adjoint(tiles_, output + i * layout.size(), output_stride(),
                              outputs + i * tiles_.count() * columns_);
      for (std::int64_t y = 0; y < layout.height; ++y) {
        add_pixels(layout.width, columns_, output + i * layout.size() + layout.row(y), bias);
      }
    }
  }

  /// One product for each point, of the transposed inputs and the outputs.
  void add_products(const float* inputs, const float* outputs, float* sum) const {
    const Timed timed(Operation::products, 2.0 * static_cast<double>(weight_size() * rows()));
    for (std::int64_t point = 0; point < tiles_.points(); ++point) {
      multiply_matrices({.rows = depth_,
                         .depth = rows(),
                         .columns = columns_,
                         .left = inputs + point * input_stride(),
                         .left_row = 1,
                         .left_term = depth_,
                         .right = outputs + point * output_stride(),
                         .result = sum + point * tiles_.filter_size(),
                         .result_panel = depth_ * panel_columns,
                         .result_row = panel_columns,
                         .adds = true});
    }
  }

  ConvolutionShape layer_;
  WinogradTiles tiles_;
  std::int64_t group_, depth_, columns_;
};

}  // namespace

std::unique_ptr<FilterGradient> make_filter_gradient(const ConvolutionShape& layer,
                                                     const ImageLayout& input,
                                                     const ImageLayout& output,
                                                     std::int64_t group) {
  WinogradTiles tiles = winograd_tiles(layer.stride, layer.output_height(), layer.output_width(),
                                       layer.channels * layer.filters);
  tiles.input = input;
  tiles.output = output;
  // Each of Winograd's sums, several for one weight, is read and written for a group, and should
  // get more terms from it than that takes.
  constexpr std::int64_t least_terms = 32;
  if (group * tiles.count() < least_terms) {
    return make_direct_filter_gradient(layer, input, output, group);
  }
  return std::make_unique<WinogradFilterGradient>(layer, tiles, group);
}

}  // namespace stanley
