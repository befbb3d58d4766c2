#pragma once

#include <array>
#include <cstdint>

#include "config/activation.hpp"
#include "kernels/amx_product.hpp"

/// What stands between a network's tile products (kernels/amx_product.hpp): one pass over a few
/// pixels of sixteen images each, in float32 inside. A pixel of them stands in memory as [channel /
/// 2, image, 2] in bfloat16: a source of the next product.
namespace stanley {

/// hidden ← z + skip, value ← f(hidden), derivative ← f′(hidden), for some channels of one pixel.
struct PixelActivation {
  Activation activation;
  float slope;            ///< of the leaky ReLU
  std::int64_t channels;  ///< a multiple of 16
  const float* z;         ///< [channel, image]: a product's sums
  const Bfloat16* skip;   ///< or null: none
  Bfloat16* hidden;       ///< or null: not kept
  Bfloat16* value;        ///< or null: not wanted
  Bfloat16* derivative;
};

/// out ← gradient · derivative + factor · skip, for some channels of one pixel.
struct PixelDerivative {
  std::int64_t channels;  ///< a multiple of 16
  const float* gradient;  ///< [channel, image]: a product's sums
  const Bfloat16* derivative;
  const Bfloat16* skip;  ///< or null: none
  float factor;
  Bfloat16* out;
};

/// A factor for each image.
constexpr std::array<float, tile_images> unit_factors = [] {
  std::array<float, tile_images> factors{};
  factors.fill(1.0F);
  return factors;
}();

namespace plain {

void activate_pixel(const PixelActivation& pass);
void multiply_pixel(const PixelDerivative& pass);

/// The sums as they are: out ← sums.
void store_pixel(std::int64_t channels, const float* sums, Bfloat16* out);

/// The last layer at one pixel: energies [image] grow by weight · value; out ← factor [image] ·
/// weight · derivative, the gradient of what was activated to `value`, of an energy's `factor`;
/// and sums [channel, image] grow by factor · value, what this pixel adds to the weight's gradient.
void add_energies(std::int64_t channels, const float* weight, const Bfloat16* value,
                  float* energies);
void start_gradient(std::int64_t channels, const float* weight, const float* factor,
                    const Bfloat16* derivative, Bfloat16* out);
void add_products(std::int64_t channels, const float* factor, const Bfloat16* value, float* sums);

/// Tiles of products that add up over images (engines/amx/filter_gradient.hpp), half of one for
/// each pixel: sixteen channels of it.
/// As weights: rows `channel` of [channel, 2, image].
void pack_as_weights(const Bfloat16* pixel, Bfloat16* out);
/// As sources, [image / 2, channel, 2]: sums of products with those.
void pack_as_sources(const Bfloat16* pixel, Bfloat16* out);

/// The mean of four pixels.
void mean_of_pixels(std::int64_t channels, const Bfloat16* const* pixels, Bfloat16* out);

/// Row y of `count` (at most 16) states [channel, height, width], one behind the other, with zeros
/// left and right of it: to out [(width + 2) · channels, image, 2], where entry (x, channel) has
/// this number and the entry's behind it, and to `scratch` [(width + 2) · channels + 1, image],
/// whose first and last pixel and last entry are zero. Images beyond `count` repeat the last one.
void load_state_row(std::int64_t count, std::int64_t channels, std::int64_t height,
                    std::int64_t width, std::int64_t y, const float* states, float* scratch,
                    Bfloat16* out);

/// Adds the gradients of a pixel's taps (y, x, channel) from `first` to before `end`, [tap, image],
/// to three rows of states [pixel, channel, image], from the pixel left of it on.
void add_taps(std::int64_t channels, std::int64_t first, std::int64_t end, const float* taps,
              float* const* rows);

/// A row of states [width, channel, image] to row y of the first `count` states [channel, height,
/// width].
void store_state_row(std::int64_t count, std::int64_t channels, std::int64_t height,
                     std::int64_t width, std::int64_t y, const float* row, float* states);

}  // namespace plain

STANLEY_BFLOAT16_KERNEL(activate_pixel)
STANLEY_BFLOAT16_KERNEL(multiply_pixel)
STANLEY_BFLOAT16_KERNEL(store_pixel)
STANLEY_BFLOAT16_KERNEL(add_energies)
STANLEY_BFLOAT16_KERNEL(start_gradient)
STANLEY_BFLOAT16_KERNEL(add_products)
STANLEY_BFLOAT16_KERNEL(pack_as_weights)
STANLEY_BFLOAT16_KERNEL(pack_as_sources)
STANLEY_BFLOAT16_KERNEL(mean_of_pixels)
STANLEY_BFLOAT16_KERNEL(load_state_row)
STANLEY_BFLOAT16_KERNEL(add_taps)
STANLEY_BFLOAT16_KERNEL(store_state_row)

}  // namespace stanley
