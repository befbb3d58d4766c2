#pragma once

#include <cstdint>

#include "kernels/bfloat16.hpp"
#include "kernels/kernel.hpp"

/// Products of bfloat16 matrices, summed in float32, by the tiles of AMX, or by vectors where the
/// processor has none. Filters are the rows of a product, sixteen images its columns.
namespace stanley {

/// Images of a tile: so many are worked on together. Their numbers do not depend on each other.
constexpr std::int64_t tile_images = 16;
/// Filters of a tile.
constexpr std::int64_t tile_filters = 16;
/// Channels, or taps and channels, that a tile adds up.
constexpr std::int64_t tile_depth = 32;
/// Elements of a tile of weights [filter, depth], or of sources [depth / 2, image, 2].
constexpr std::int64_t tile_size = 512;
/// Of a tile of sums [filter, image].
constexpr std::int64_t tile_sums = tile_filters * tile_images;

/// sums[pixel, filter tile] ← start + Σ over rows and blocks of weight tile · source tile, for one
/// or two tiles of filters at one or two pixels: for a convolution's row of the kernel, a pixel's
/// taps and their channels stand one behind the other.
struct AmxProduct {
  int filter_tiles, pixels;   ///< 1 or 2
  int rows;                   ///< of the kernel, at most 4
  std::int64_t blocks;        ///< tiles of a row
  const Bfloat16* weight;     ///< [rows, blocks] tiles
  std::int64_t weight_step;   ///< elements between the weights of the two tiles of filters
  const Bfloat16* source[4];  ///< [blocks] tiles for each row
  std::int64_t pixel_step;    ///< elements between the sources of the two pixels
  const float* start;         ///< null: zero; may be `sums`
  std::int64_t start_step;    ///< elements between the starts of the two pixels
  float* sums;                ///< [pixel, filter tile, filter, image]
};

namespace plain {
void multiply_tiles(const AmxProduct& product);
}
STANLEY_AMX_KERNEL(multiply_tiles)

/// Holds the tiles of this thread while it lives, where multiply_tiles() goes by those of AMX;
/// meanwhile no library may use them.
class AmxTiles {
 public:
  AmxTiles();
  ~AmxTiles();
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;

  void multiply(const AmxProduct& product) const { multiply_tiles(product); }

 private:
  bool configured_;
};

}  // namespace stanley
