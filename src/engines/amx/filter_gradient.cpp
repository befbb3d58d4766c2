#include "engines/amx/filter_gradient.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "energy/operation_times.hpp"
#include "kernels/amx_elementwise.hpp"

namespace stanley {
namespace {

/// Half a tile: one pixel's.
constexpr std::int64_t half_tile = tile_size / 2;

}  // namespace

AmxFilterGradient::AmxFilterGradient(const ConvolutionShape& shape) : shape_(whole_tiles(shape)) {}

std::int64_t AmxFilterGradient::rows() const {
  // Eight tiles of either kind stay in the innermost cache.
  return std::clamp<std::int64_t>(8 / pairs(), 1, 4);
}

std::int64_t AmxFilterGradient::place(std::int64_t y, std::int64_t x,
                                      std::int64_t channel_tile) const {
  const std::int64_t stride = shape_.stride, row = y % source_rows();
  return (((row * channel_tiles() + channel_tile) * stride + (x + 1) % stride) * columns() +
          (x + 1) / stride) *
         half_tile;
}

AmxFilterGradient::Workspace AmxFilterGradient::make_workspace() const {
  return {AlignedBuffer<Bfloat16>(filter_tiles() * rows() * pairs() * tile_size),
          AlignedBuffer<Bfloat16>(source_rows() * channel_tiles() * shape_.stride * columns() *
                                  half_tile)};
}

void AmxFilterGradient::add(const AmxTiles& tiles, const PixelRows& input,
                            const PixelRows& gradient, Workspace& workspace, float* sum) const {
  std::int64_t packed = 0;  // rows of the inputs
  for (std::int64_t y = 0; y < shape_.output_height(); y += rows()) {
    const std::int64_t count = std::min(rows(), shape_.output_height() - y);
    for (std::int64_t row = 0; row < count; ++row) {
      pack_gradient(y + row, gradient, row, workspace, sum + weight_size());
    }
    const std::int64_t end =
        std::min((y + count - 1) * shape_.stride - shape_.padding + shape_.kernel, shape_.height);
    for (; packed < end; ++packed) pack_input(packed, input, workspace);
    multiply(tiles, y, count, workspace, sum);
  }
}

/// The second pixel of an odd row's last pair stays zero.
void AmxFilterGradient::pack_gradient(std::int64_t y, const PixelRows& gradient, std::int64_t row,
                                      Workspace& workspace, float* bias) const {
  const Timed timed(Operation::transformations);
  for (std::int64_t x = 0; x < shape_.output_width(); ++x) {
    const Bfloat16* pixel = gradient.row(y) + x * gradient.pixel_size();
    add_products(shape_.filters, unit_factors.data(), pixel, bias);
    for (std::int64_t tile = 0; tile < filter_tiles(); ++tile) {
      Bfloat16* to =
          workspace.weights.data() + ((tile * rows() + row) * pairs() + x / 2) * tile_size;
      pack_as_weights(pixel + tile * half_tile, to + x % 2 * tile_images);
    }
  }
}

void AmxFilterGradient::pack_input(std::int64_t y, const PixelRows& input,
                                   Workspace& workspace) const {
  const Timed timed(Operation::transformations);
  for (std::int64_t x = 0; x < shape_.width; ++x) {
    const Bfloat16* pixel = input.row(y) + x * input.pixel_size();
    for (std::int64_t tile = 0; tile < channel_tiles(); ++tile) {
      pack_as_sources(pixel + tile * half_tile, workspace.sources.data() + place(y, x, tile));
    }
  }
}

/// Calls visit(filter tile, its number of tiles, tap, channel tile, its number of tiles) for one or
/// two tiles of either kind at a time, in the order of the sums.
template <typename Visit>
void AmxFilterGradient::for_each_product(const Visit& visit) const {
  for (std::int64_t filter = 0; filter < filter_tiles(); filter += 2) {
    for (std::int64_t tap = 0; tap < taps(); ++tap) {
      for (std::int64_t channel = 0; channel < channel_tiles(); channel += 2) {
        visit(filter, std::min<std::int64_t>(2, filter_tiles() - filter), tap, channel,
              std::min<std::int64_t>(2, channel_tiles() - channel));
      }
    }
  }
}

void AmxFilterGradient::multiply(const AmxTiles& tiles, std::int64_t y, std::int64_t count,
                                 const Workspace& workspace, float* sum) const {
  const Timed timed(Operation::products, 2.0 * tile_depth *
                                             static_cast<double>(count * pairs() * taps() *
                                                                 shape_.filters * shape_.channels));
  for_each_product([&](std::int64_t filter, std::int64_t filters, std::int64_t tap,
                       std::int64_t channel, std::int64_t channels) {
    AmxProduct product{.filter_tiles = static_cast<int>(filters),
                       .pixels = static_cast<int>(channels),
                       .blocks = pairs(),
                       .weight_step = rows() * pairs() * tile_size,
                       .pixel_step = shape_.stride * columns() * half_tile,
                       .start = sum,
                       .start_step = filters * tile_sums,
                       .sums = sum};
    // Of the rows of outputs, those for which this row of the kernel lies in the image.
    for (std::int64_t row = 0; row < count; ++row) {
      const std::int64_t from = (y + row) * shape_.stride - shape_.padding + tap / shape_.kernel;
      if (from < 0 || from >= shape_.height) continue;
      if (product.rows == 0) {
        product.weight = workspace.weights.data() + (filter * rows() + row) * pairs() * tile_size;
      }
      product.source[product.rows++] =
          workspace.sources.data() + place(from, tap % shape_.kernel - shape_.padding, channel);
    }
    if (product.rows > 0) tiles.multiply(product);
    sum += filters * channels * tile_sums;
  });
}

at::Tensor AmxFilterGradient::weight(const float* sum) const {
  at::Tensor result = at::empty({shape_.kernel, shape_.kernel, shape_.filters, shape_.channels});
  auto* const to = result.mutable_data_ptr<float>();
  for_each_product([&](std::int64_t filter, std::int64_t filters, std::int64_t tap,
                       std::int64_t channel, std::int64_t channels) {
    for (std::int64_t i = 0; i < filters * channels * tile_filters; ++i, sum += tile_images) {
      const std::int64_t tile = i / tile_filters;
      const std::int64_t f = (filter + tile % filters) * tile_filters + i % tile_filters,
                         c = (channel + tile / filters) * tile_filters;
      std::copy_n(sum, tile_images, to + (tap * shape_.filters + f) * shape_.channels + c);
    }
  });
  return result.permute({2, 3, 0, 1});
}

at::Tensor AmxFilterGradient::bias(const float* sum) const {
  return sum_of_images(sum + weight_size(), shape_.filters);
}

at::Tensor sum_of_images(const float* sums, std::int64_t rows) {
  return at::from_blob(const_cast<float*>(sums), {rows, tile_images})
      .sum(1, false, at::kDouble)
      .to(at::kFloat);
}

}  // namespace stanley
