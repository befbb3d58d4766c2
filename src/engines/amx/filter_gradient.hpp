#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "engines/amx/convolution.hpp"

namespace stanley {

/// The gradients of a AmxConvolution's weights by tile products that add up over pixels and
/// images: their weights are the gradients of the convolution's outputs, their sources its inputs.
class AmxFilterGradient {
 public:
  /// What one thread packs some rows of the images into.
  struct Workspace {
    AlignedBuffer<Bfloat16> weights;  // [filter tile, row, pair of pixels] tiles
    /// Rows of inputs in turn: [row, channel tile, remainder of x, quotient of x] halves of tiles,
    /// x from the column left of the image on and divided by the stride.
    AlignedBuffer<Bfloat16> sources;
  };

  /// Numbers of channels are filled up to whole tiles of filters.
  explicit AmxFilterGradient(const ConvolutionShape& shape);

  Workspace make_workspace() const;

  /// Elements of a sum, which starts at zero: [pair of filter tiles, tap, pair of channel tiles,
  /// channel tile, filter tile, filter, channel], where a pair may be of one, and behind them the
  /// bias's [filter, image].
  std::int64_t sum_size() const { return weight_size() + shape_.filters * tile_images; }

  /// Adds what sixteen images and the gradients of their outputs make: whole ones.
  void add(const AmxTiles& tiles, const PixelRows& input, const PixelRows& gradient,
           Workspace& workspace, float* sum) const;

  /// The gradient of weight [filters, channels, kernel, kernel], and of bias [filters], filled up.
  at::Tensor weight(const float* sum) const;
  at::Tensor bias(const float* sum) const;

 private:
  std::int64_t filter_tiles() const { return shape_.filters / tile_filters; }
  std::int64_t channel_tiles() const { return shape_.channels / tile_filters; }
  std::int64_t taps() const { return shape_.kernel * shape_.kernel; }
  std::int64_t weight_size() const { return filter_tiles() * taps() * channel_tiles() * tile_sums; }
  /// Pairs of pixels in a row of outputs.
  std::int64_t pairs() const { return (shape_.output_width() + 1) / 2; }
  /// Rows of outputs that are worked on together, and rows of inputs that they reach.
  std::int64_t rows() const;
  std::int64_t source_rows() const { return (rows() - 1) * shape_.stride + shape_.kernel; }
  /// Pixels of a row of inputs, with what stands around them, whose x leave one remainder.
  std::int64_t columns() const { return (shape_.width + 1) / shape_.stride + 3; }
  /// Where a channel tile of input pixel (y, x) stands, x from -1 on.
  std::int64_t place(std::int64_t y, std::int64_t x, std::int64_t channel_tile) const;

  void pack_gradient(std::int64_t y, const PixelRows& gradient, std::int64_t row,
                     Workspace& workspace, float* bias) const;
  void pack_input(std::int64_t y, const PixelRows& input, Workspace& workspace) const;
  void multiply(const AmxTiles& tiles, std::int64_t y, std::int64_t count,
                const Workspace& workspace, float* sum) const;
  template <typename Visit>
  void for_each_product(const Visit& visit) const;

  ConvolutionShape shape_;
};

/// Sums [rows, image] over the images, in double precision: [rows].
at::Tensor sum_of_images(const float* sums, std::int64_t rows);

}  // namespace stanley
