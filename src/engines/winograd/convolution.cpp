#include "engines/winograd/convolution.hpp"

#include <algorithm>

#include "energy/operation_times.hpp"
#include "kernels/lanes.hpp"
#include "kernels/matrix_product.hpp"
#include "kernels/memory.hpp"
#include "kernels/winograd.hpp"

namespace stanley {
namespace {

/// Images in a group: the fewest that have so many rows. Filters that no cache holds are loaded
/// for each group, which should be large.
std::int64_t group_of(const WinogradTiles& tiles, std::int64_t below, std::int64_t block,
                      std::int64_t least_rows) {
  constexpr std::int64_t cached = 1 << 20, rows_for_loading = 64;
  const std::int64_t filters = tiles.points() * tiles.filter_size();
  const std::int64_t least = filters > cached ? std::max(least_rows, rows_for_loading) : least_rows;
  std::int64_t group = block;
  while (group % (2 * below) == 0 && group / 2 * tiles.count() >= least) group /= 2;
  return group;
}

class WinogradConvolution : public Convolution {
 public:
  WinogradConvolution(const ConvolutionShape& layer, const WinogradTiles& tiles, std::int64_t group)
      : layer_(layer),
        tiles_(tiles),
        group_(group),
        depth_(tiles.depth()),
        columns_(tiles.output.channels),
        forward_(tiles.points() * tiles.filter_size()),
        backward_(tiles.points() * tiles.filter_size()),
        bias_(columns_) {}

  void load(const float* weight, const float* bias) override {
    winograd_filter(tiles_, layer_.filters, layer_.channels, weight, forward_.data());
    for (std::int64_t point = 0; point < tiles_.points(); ++point) {
      const std::int64_t first = point * tiles_.filter_size();
      transpose_panels(depth_, columns_, forward_.data() + first, backward_.data() + first);
    }
    std::copy_n(bias, layer_.filters, bias_.data());
  }

  void forward(std::int64_t images, const float* input, float* output,
               std::byte* scratch) const override {
    const Parts part = parts(scratch);
    for_each_image(images, [&](std::int64_t i) {
      winograd_input(tiles_, input + i * tiles_.input.size(), input_stride(),
                     part.input + i * tiles_.count() * depth_);
    });
    multiply_points(images, depth_, columns_, part.input, forward_, part.output);
    for_each_image(images, [&](std::int64_t i) {
      winograd_output(tiles_, part.output + i * tiles_.count() * columns_, output_stride(),
                      bias_.data(), output + i * tiles_.output.size());
    });
  }

  void backward(std::int64_t images, const float* output, const float* derivative, float* input,
                std::byte* scratch) const override {
    const Parts part = parts(scratch);
    for_each_image(images, [&](std::int64_t i) {
      winograd_output_adjoint(tiles_, output + i * tiles_.output.size(), output_stride(),
                              part.output + i * tiles_.count() * columns_);
    });
    multiply_points(images, columns_, depth_, part.output, backward_, part.input);
    for_each_image(images, [&](std::int64_t i) {
      winograd_input_adjoint(tiles_, part.input + i * tiles_.count() * depth_, input_stride(),
                             derivative + i * tiles_.input.size(), input + i * tiles_.input.size());
    });
  }

  std::int64_t group() const override { return group_; }
  std::size_t scratch_size() const override {
    return static_cast<std::size_t>(tiles_.points() * (input_stride() + output_stride())) *
           sizeof(float);
  }

 private:
  struct Parts {
    float *input, *output;
  };

  template <typename Transform>
  void for_each_image(std::int64_t images, Transform transform) const {
    const Timed timed(Operation::transformations);
    for (std::int64_t i = 0; i < images; ++i) transform(i);
  }

  /// One product for each point: [the images' rows, depth] × [depth, columns].
  void multiply_points(std::int64_t images, std::int64_t depth, std::int64_t columns,
                       const float* left, const AlignedBuffer<float>& panels, float* result) const {
    const std::int64_t rows = images * tiles_.count();
    const Timed timed(Operation::products,
                      2.0 * static_cast<double>(tiles_.points() * rows * depth * columns));
    for (std::int64_t point = 0; point < tiles_.points(); ++point) {
      multiply_matrices({.rows = rows,
                         .depth = depth,
                         .columns = columns,
                         .left = left + point * winograd_stride(group_rows(), depth),
                         .right = panels.data() + point * tiles_.filter_size(),
                         .right_panel = depth * panel_columns,
                         .right_term = panel_columns,
                         .result = result + point * winograd_stride(group_rows(), columns)});
    }
  }

  std::int64_t group_rows() const { return group_ * tiles_.count(); }
  std::int64_t input_stride() const { return winograd_stride(group_rows(), depth_); }
  std::int64_t output_stride() const { return winograd_stride(group_rows(), columns_); }

  Parts parts(std::byte* scratch) const {
    auto* input = reinterpret_cast<float*>(scratch);
    return {input, input + tiles_.points() * input_stride()};
  }

  ConvolutionShape layer_;
  WinogradTiles tiles_;
  std::int64_t group_, depth_, columns_;
  AlignedBuffer<float> forward_, backward_;  // filters, and each point's transposed ones
  AlignedBuffer<float> bias_;
};

WinogradTiles tiles_of(const ConvolutionShape& layer) {
  return winograd_tiles(layer.stride, layer.output_height(), layer.output_width(),
                        layer.channels * layer.filters);
}

}  // namespace

ImageLayout winograd_layout(const ConvolutionShape* writer, const ConvolutionShape* reader) {
  ImageLayout layout{reader ? reader->height : writer->output_height(),
                     reader ? reader->width : writer->output_width(),
                     whole_lanes(reader ? reader->channels : writer->filters), 1};
  layout.rows = layout.height + 2;
  layout.columns = layout.width + 2;
  const auto reach = [&](std::int64_t rows, std::int64_t columns) {
    layout.rows = std::max(layout.rows, rows);
    layout.columns = std::max(layout.columns, columns);
  };
  if (reader) {
    const WinogradTiles tiles = tiles_of(*reader);
    reach(winograd_input_extent(tiles.stride, tiles.side, tiles.height),
          winograd_input_extent(tiles.stride, tiles.side, tiles.width));
  }
  if (writer) {
    const WinogradTiles tiles = tiles_of(*writer);
    reach(winograd_output_extent(tiles.side, tiles.height),
          winograd_output_extent(tiles.side, tiles.width));
  }
  return layout;
}

std::unique_ptr<Convolution> make_winograd_convolution(const ConvolutionShape& layer,
                                                       const ImageLayout& input,
                                                       const ImageLayout& output,
                                                       std::int64_t below, std::int64_t block,
                                                       std::int64_t least_rows) {
  WinogradTiles tiles = tiles_of(layer);
  tiles.input = input;
  tiles.output = output;
  return std::make_unique<WinogradConvolution>(layer, tiles,
                                               group_of(tiles, below, block, least_rows));
}

}  // namespace stanley
