#pragma once

#include <cstdint>

#include "kernels/image_layout.hpp"
#include "kernels/kernel.hpp"

namespace stanley {

/// Winograd's minimal filtering (Winograd, "Arithmetic complexity of computations", 1980; Lavin and
/// Gray, arXiv 1509.09308) for two convolutions of padding 1: 3×3 of stride 1, and 4×4 of stride 2,
/// whose input splits into four phases (even and odd rows and columns), on which it is a sum of
/// four 2×2 convolutions of stride 1. With filters of r taps, a tile of m×m outputs takes (m+r−1)²
/// products for each phase instead of m²r²:
///   y = Aᵀ [Σ (G g Gᵀ) ⊙ (Bᵀ d B)] A.
/// All tiles and channels together make (m+r−1)² matrix products, one for each point. Backward
/// through the input is the adjoint of each step, in the opposite order.
struct WinogradTiles {
  std::int64_t stride;         ///< of the convolution: 1 or 2
  std::int64_t side;           ///< m: 2 or 4, with a stride of 2 also 3
  std::int64_t height, width;  ///< in tiles
  ImageLayout input, output;   ///< large enough for whole tiles, with a border of 1

  std::int64_t taps() const { return stride == 1 ? 3 : 2; }
  std::int64_t phases() const { return stride * stride; }
  std::int64_t points() const { return (side + taps() - 1) * (side + taps() - 1); }
  std::int64_t count() const { return height * width; }
  /// Rows of a point's matrix of filters, and all its elements.
  std::int64_t depth() const { return phases() * input.channels; }
  std::int64_t filter_size() const { return depth() * output.channels; }
  /// Of an input's layout, what whole tiles reach, and of an output's.
  std::int64_t input_rows() const { return stride * side * height + 2; }
  std::int64_t input_columns() const { return stride * side * width + 2; }
  std::int64_t output_rows() const { return 1 + side * height; }
  std::int64_t output_columns() const { return 1 + side * width; }
};

/// The tiles for an output of this size, of the side that takes the least time: the fewest
/// products, but where transformed filters are too many for any cache, loading them counts too.
/// `filters`: input channels times output channels.
WinogradTiles winograd_tiles(std::int64_t stride, std::int64_t out_height, std::int64_t out_width,
                             std::int64_t filters);

/// Elements between the matrices [rows, columns] of two points. The odd line keeps a tile's lines
/// of different points in different sets of the cache.
std::int64_t winograd_stride(std::int64_t rows, std::int64_t columns);

namespace plain {

/// G g Gᵀ of weight [out, in, kernel, kernel]: for each point a matrix [phase, input.channels] ×
/// [output.channels] in panels (kernels/matrix_product.hpp). Rows and columns of channels that the
/// network lacks are not written.
void winograd_filter(const WinogradTiles& tiles, std::int64_t out, std::int64_t in,
                     const float* weight, float* transformed);

/// The adjoint of winograd_filter(): from the gradient of what it makes to that of the weight.
void winograd_filter_adjoint(const WinogradTiles& tiles, std::int64_t out, std::int64_t in,
                             const float* transformed, float* weight);

/// Bᵀ d B of one image, as [point, tile, phase, input.channels], `stride` elements between points.
void winograd_input(const WinogradTiles& tiles, const float* image, std::int64_t stride,
                    float* transformed);

/// One image, bias included, from the products [point, tile, output.channels].
void winograd_output(const WinogradTiles& tiles, const float* products, std::int64_t stride,
                     const float* bias, float* image);

/// The adjoint of winograd_output(): from the gradient of its image to that of its products.
void winograd_output_adjoint(const WinogradTiles& tiles, const float* image, std::int64_t stride,
                             float* products);

/// The adjoint of winograd_input(), times `factor` [layout of the input] pixel by pixel. Overwrites
/// the image, and zeroes its surroundings.
void winograd_input_adjoint(const WinogradTiles& tiles, const float* transformed,
                            std::int64_t stride, const float* factor, float* image);

}  // namespace plain

STANLEY_KERNEL(winograd_filter)
STANLEY_KERNEL(winograd_filter_adjoint)
STANLEY_KERNEL(winograd_input)
STANLEY_KERNEL(winograd_output)
STANLEY_KERNEL(winograd_output_adjoint)
STANLEY_KERNEL(winograd_input_adjoint)

}  // namespace stanley
