#include "engines/winograd/convolution.hpp"

#include <algorithm>

#include "energy/operation_times.hpp"
#include "kernels/matrix_product.hpp"

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

}  // namespace

WinogradTiles winograd_tiles(const ConvolutionShape& layer, const ImageLayout& input,
                             const ImageLayout& output) {
  WinogradTiles tiles = winograd_tiles(layer.stride, layer.output_height(), layer.output_width(),
                                       layer.channels * layer.filters);
  tiles.input = input;
  tiles.output = output;
  return tiles;
}

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
    const WinogradTiles tiles = winograd_tiles(*reader);
    reach(tiles.input_rows(), tiles.input_columns());
  }
  if (writer) {
    const WinogradTiles tiles = winograd_tiles(*writer);
    reach(tiles.output_rows(), tiles.output_columns());
  }
  return layout;
}

void WinogradGroup::transform_input(std::int64_t i, const float* from, float* inputs) const {
  winograd_input(tiles, from + i * tiles.input.size(), input_stride(),
                 inputs + i * tiles.count() * tiles.depth());
}

void WinogradGroup::transform_gradient(std::int64_t i, const float* from, float* outputs) const {
  winograd_output_adjoint(tiles, from + i * tiles.output.size(), output_stride(),
                          outputs + i * tiles.count() * columns());
}

WinogradConvolution::WinogradConvolution(const ConvolutionShape& layer, const ImageLayout& input,
                                         const ImageLayout& output, std::int64_t below,
                                         std::int64_t block, std::int64_t least_rows)
    : layer_(layer), group_{winograd_tiles(layer, input, output), 0}, bias_(output.channels) {
  const WinogradTiles& tiles = group_.tiles;
  group_.images = group_of(tiles, below, block, least_rows);
  forward_ = AlignedBuffer<float>(tiles.points() * tiles.filter_size());
  backward_ = forward_;
}

void WinogradConvolution::load(const float* weight, const float* bias) {
  const WinogradTiles& tiles = group_.tiles;
  winograd_filter(tiles, layer_.filters, layer_.channels, weight, forward_.data());
  for (std::int64_t point = 0; point < tiles.points(); ++point) {
    const std::int64_t first = point * tiles.filter_size();
    transpose_panels(tiles.depth(), group_.columns(), forward_.data() + first,
                     backward_.data() + first);
  }
  std::copy_n(bias, layer_.filters, bias_.data());
}

void WinogradConvolution::forward(std::int64_t images, const float* input, float* output,
                                  std::byte* scratch) const {
  const WinogradTiles& tiles = group_.tiles;
  auto *const inputs = reinterpret_cast<float*>(scratch), *const outputs = group_.outputs(inputs);
  {
    const Timed timed(Operation::transformations);
    for (std::int64_t i = 0; i < images; ++i) group_.transform_input(i, input, inputs);
  }
  multiply_points(images, tiles.depth(), group_.columns(), inputs, forward_, outputs);
  const Timed timed(Operation::transformations);
  for (std::int64_t i = 0; i < images; ++i) {
    winograd_output(tiles, outputs + i * tiles.count() * group_.columns(), group_.output_stride(),
                    bias_.data(), output + i * tiles.output.size());
  }
}

void WinogradConvolution::backward(std::int64_t images, const float* output,
                                   const float* derivative, float* input,
                                   std::byte* scratch) const {
  const WinogradTiles& tiles = group_.tiles;
  auto *const inputs = reinterpret_cast<float*>(scratch), *const outputs = group_.outputs(inputs);
  {
    const Timed timed(Operation::transformations);
    for (std::int64_t i = 0; i < images; ++i) group_.transform_gradient(i, output, outputs);
  }
  multiply_points(images, group_.columns(), tiles.depth(), outputs, backward_, inputs);
  const Timed timed(Operation::transformations);
  for (std::int64_t i = 0; i < images; ++i) {
    winograd_input_adjoint(tiles, inputs + i * tiles.count() * tiles.depth(), group_.input_stride(),
                           derivative + i * tiles.input.size(), input + i * tiles.input.size());
  }
}

/// One product for each point: [the images' rows, depth] × [depth, columns].
void WinogradConvolution::multiply_points(std::int64_t images, std::int64_t depth,
                                          std::int64_t columns, const float* left,
                                          const AlignedBuffer<float>& panels, float* result) const {
  const WinogradTiles& tiles = group_.tiles;
  const std::int64_t rows = images * tiles.count();
  const Timed timed(Operation::products,
                    2.0 * static_cast<double>(tiles.points() * rows * depth * columns));
  for (std::int64_t point = 0; point < tiles.points(); ++point) {
    multiply_matrices({.rows = rows,
                       .depth = depth,
                       .columns = columns,
                       .left = left + point * winograd_stride(group_.rows(), depth),
                       .right = panels.data() + point * tiles.filter_size(),
                       .right_panel = depth * panel_columns,
                       .right_term = panel_columns,
                       .result = result + point * winograd_stride(group_.rows(), columns)});
  }
}

}  // namespace stanley
