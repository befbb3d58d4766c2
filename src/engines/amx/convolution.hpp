#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <optional>

#include "energy/operation_times.hpp"
#include "kernels/amx_product.hpp"
#include "kernels/convolution_shape.hpp"
#include "kernels/memory.hpp"

namespace stanley {

/// `count` rounded up to whole tiles of filters.
constexpr std::int64_t whole_tiles(std::int64_t count) {
  return (count + tile_filters - 1) / tile_filters * tile_filters;
}

/// The same convolution with both numbers of channels rounded up so.
constexpr ConvolutionShape whole_tiles(ConvolutionShape shape) {
  shape.channels = whole_tiles(shape.channels);
  shape.filters = whole_tiles(shape.filters);
  return shape;
}

/// Some rows of sixteen images, [row, column, channel / 2, image, 2] in bfloat16, with a column of
/// zeros on either side: a row stands where the one `rows` above it stood.
class PixelRows {
 public:
  PixelRows() = default;
  /// `channels` is a multiple of 16.
  PixelRows(std::int64_t rows, std::int64_t width, std::int64_t channels)
      : rows_(rows),
        pixel_(channels * tile_images),
        // The last pixel may be read as a whole tile.
        row_((width + 2) * pixel_),
        memory_(rows * row_ + tile_size) {}

  Bfloat16* row(std::int64_t y) { return memory_.data() + y % rows_ * row_ + pixel_; }
  Bfloat16* at(std::int64_t y, std::int64_t x, std::int64_t channel = 0) {
    return row(y) + x * pixel_ + channel * tile_images;
  }
  const Bfloat16* row(std::int64_t y) const { return memory_.data() + y % rows_ * row_ + pixel_; }
  /// Elements of a pixel.
  std::int64_t pixel_size() const { return pixel_; }

 private:
  std::int64_t rows_ = 0, pixel_ = 0, row_ = 0;
  AlignedBuffer<Bfloat16> memory_;
};

/// Weights of a product for each pixel: for each filter and row of the kernel, what its taps and
/// their channels are multiplied with.
class AmxWeights {
 public:
  /// Copies weight [filters, rows, depth], float32 or bfloat16.
  void load(const at::Tensor& weight);
  /// Copies bias [filters], float32, for the sums to start from.
  void load_bias(const at::Tensor& bias);

  std::int64_t filter_tiles() const { return filter_tiles_; }
  int rows() const { return rows_; }
  std::int64_t blocks() const { return blocks_; }
  const Bfloat16* tiles(std::int64_t filter_tile, int row) const {
    return memory_.data() + (filter_tile * rows_ + row) * blocks_ * tile_size;
  }
  std::int64_t filter_step() const { return rows_ * blocks_ * tile_size; }
  /// The sums' start, or null.
  const float* bias(std::int64_t filter_tile) const {
    return bias_.data() == nullptr ? nullptr : bias_.data() + filter_tile * tile_sums;
  }

 private:
  std::int64_t filter_tiles_ = 0, blocks_ = 0;
  int rows_ = 0;
  AlignedBuffer<Bfloat16> memory_;
  AlignedBuffer<float> bias_;  // [filter, image]
};

/// Pixels side by side whose products take the same weights.
struct PixelRun {
  int first_row, end_row;     ///< of the kernel: those that lie in the image
  const Bfloat16* source[4];  ///< of the first pixel, for each row from first_row on
  std::int64_t pixels;
};

/// Pixels of the sums that are held together.
constexpr std::int64_t run_pixels = 16;
/// Elements of memory that convolve_runs() needs.
constexpr std::int64_t run_sums = run_pixels * 2 * tile_sums;

/// The products of all filters for the pixels of `count` spans, at most run_pixels in all, whose
/// sources stand `pixel_step` elements apart. Calls finish(span, pixel, filter, filters, sums) with
/// the sums [filters, image] of each pixel, for 16 or 32 filters at a time. `of` and `after` say
/// what the products and finish() are, for who asks for their times.
template <typename Finish>
void convolve_runs(Operation of, Operation after, const AmxTiles& tiles, const AmxWeights& weights,
                   const PixelRun* spans, std::int64_t count, std::int64_t pixel_step, float* sums,
                   const Finish& finish) {
  // Weights that stay in the innermost cache while all pixels go by.
  constexpr std::int64_t cached = 24;
  const int rows_at_once =
      static_cast<int>(std::max<std::int64_t>(1, cached / (2 * weights.blocks())));
  for (std::int64_t tile = 0; tile < weights.filter_tiles(); tile += 2) {
    const int filter_tiles =
        static_cast<int>(std::min<std::int64_t>(2, weights.filter_tiles() - tile));
    const std::int64_t step = filter_tiles * tile_sums;
    const float* const bias = weights.bias(tile);
    double flops = 0;
    for (const PixelRun* span = spans; span < spans + count; ++span) {
      flops += 2.0 * tile_depth *
               static_cast<double>(step * weights.blocks() * span->pixels *
                                   (span->end_row - span->first_row));
    }
    std::optional<Timed> timed(std::in_place, of, flops);
    for (int row = 0; row < weights.rows(); row += rows_at_once) {
      float* sum = sums;
      for (const PixelRun* span = spans; span < spans + count; ++span) {
        const int first = std::max(row, span->first_row),
                  end = std::min(row + rows_at_once, span->end_row);
        // A span's first product starts its sums, and must be made even where it is empty.
        const bool starts = row <= span->first_row && span->first_row < row + rows_at_once;
        if (first >= end && !starts) {
          sum += span->pixels * step;
          continue;
        }
        AmxProduct product{.filter_tiles = filter_tiles,
                           .rows = std::max(0, end - first),
                           .blocks = weights.blocks(),
                           .weight = weights.tiles(tile, first),
                           .weight_step = weights.filter_step(),
                           .pixel_step = pixel_step};
        for (std::int64_t x = 0; x < span->pixels; x += 2) {
          product.pixels = static_cast<int>(std::min<std::int64_t>(2, span->pixels - x));
          for (int i = 0; i < product.rows; ++i) {
            product.source[i] = span->source[first - span->first_row + i] + x * pixel_step;
          }
          product.start = starts ? bias : sum;
          product.start_step = starts ? 0 : step;
          product.sums = sum;
          tiles.multiply(product);
          sum += product.pixels * step;
        }
      }
    }
    timed.emplace(after);
    const float* sum = sums;
    for (std::int64_t span = 0; span < count; ++span) {
      for (std::int64_t x = 0; x < spans[span].pixels; ++x, sum += step) {
        finish(span, x, tile * tile_filters, filter_tiles * tile_filters, sum);
      }
    }
  }
}

/// A square convolution of one of ConvolutionShape's kinds and its adjoint, by tile products, for
/// some of its rows at a time.
class AmxConvolution {
 public:
  /// Numbers of channels are filled up to whole tiles of filters.
  explicit AmxConvolution(const ConvolutionShape& shape);

  /// weight [filters, channels, kernel, kernel] and bias [filters] or undefined, float32, of the
  /// network.
  void load(const at::Tensor& weight, const at::Tensor& bias);

  const ConvolutionShape& shape() const { return shape_; }

  /// Output rows from `first` to before `end`, from input rows. Calls finish(y, x, filter, filters,
  /// sums) with z for each pixel.
  template <typename Finish>
  void forward(const AmxTiles& tiles, std::int64_t first, std::int64_t end, const PixelRows& input,
               float* sums, const Finish& finish) const {
    for_each_group(first, end, shape_.output_width(), [&](const Group& group) {
      PixelRun spans[run_pixels];
      for (std::int64_t i = 0; i < group.rows; ++i) {
        spans[i] =
            span_of((group.y + i) * shape_.stride - shape_.padding, static_cast<int>(shape_.kernel),
                    shape_.height, group.x * shape_.stride - shape_.padding, group.pixels, input);
      }
      convolve_runs(
          Operation::products, Operation::activations, tiles, forward_, spans, group.rows,
          shape_.stride * input.pixel_size(), sums,
          [&](std::int64_t span, std::int64_t x, std::int64_t filter, std::int64_t filters,
              const float* sum) { finish(group.y + span, group.x + x, filter, filters, sum); });
    });
  }

  /// Rows of the gradient of the input, from rows of the output's. Calls finish(y, x, channel,
  /// channels, sums) with the gradient for each pixel.
  template <typename Finish>
  void backward(const AmxTiles& tiles, std::int64_t first, std::int64_t end,
                const PixelRows& gradient, float* sums, const Finish& finish) const {
    const std::int64_t stride = shape_.stride;
    for (std::int64_t part = 0; part < stride * stride; ++part) {
      const std::int64_t of_y = part / stride, of_x = part % stride;
      // Rows y = stride·q + of_y, and columns alike.
      const auto quotients = [&](std::int64_t until, std::int64_t remainder) {
        return (until - remainder + stride - 1) / stride;
      };
      for_each_group(
          quotients(first, of_y), quotients(end, of_y), quotients(shape_.width, of_x),
          [&](const Group& group) {
            PixelRun spans[run_pixels];
            for (std::int64_t i = 0; i < group.rows; ++i) {
              spans[i] = span_of(group.y + i + shape_.first_tap(of_y),
                                 static_cast<int>(shape_.kernel / stride), shape_.output_height(),
                                 group.x + shape_.first_tap(of_x), group.pixels, gradient);
            }
            convolve_runs(Operation::products, Operation::multiplications, tiles, backward_[part],
                          spans, group.rows, gradient.pixel_size(), sums,
                          [&](std::int64_t span, std::int64_t x, std::int64_t channel,
                              std::int64_t channels, const float* sum) {
                            finish((group.y + span) * stride + of_y, (group.x + x) * stride + of_x,
                                   channel, channels, sum);
                          });
          });
    }
  }

 private:
  /// Some pixels of some rows.
  struct Group {
    std::int64_t y, rows, x, pixels;
  };

  template <typename Visit>
  static void for_each_group(std::int64_t first, std::int64_t end, std::int64_t width,
                             const Visit& visit) {
    const std::int64_t pixels = std::min(width, run_pixels);
    const std::int64_t rows = pixels == 0 ? 1 : run_pixels / pixels;
    for (std::int64_t y = first; y < end; y += rows) {
      for (std::int64_t x = 0; x < width; x += pixels) {
        visit({y, std::min(rows, end - y), x, std::min(pixels, width - x)});
      }
    }
  }

  /// Of a kernel of so many rows whose first lies on row y of images of this height.
  static PixelRun span_of(std::int64_t y, int rows, std::int64_t height, std::int64_t x,
                          std::int64_t pixels, const PixelRows& source) {
    PixelRun span{.first_row = static_cast<int>(std::max<std::int64_t>(0, -y)),
                  .end_row = static_cast<int>(std::min<std::int64_t>(rows, height - y)),
                  .pixels = pixels};
    for (int row = span.first_row; row < span.end_row; ++row) {
      span.source[row - span.first_row] = source.row(y + row) + x * source.pixel_size();
    }
    return span;
  }

  ConvolutionShape shape_;
  AmxWeights forward_, backward_[4];
};

}  // namespace stanley
