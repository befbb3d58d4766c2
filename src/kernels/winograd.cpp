#include "kernels/winograd.hpp"

namespace stanley {

WinogradTiles winograd_tiles(std::int64_t stride, std::int64_t out_height, std::int64_t out_width,
                             std::int64_t filters) {
  const auto of_side = [&](std::int64_t side) {
    return WinogradTiles{.stride = stride,
                         .side = side,
                         .height = (out_height + side - 1) / side,
                         .width = (out_width + side - 1) / side,
                         .input = {},
                         .output = {}};
  };
  // For each filter, in multiplications of one block's tiles.
  const auto cost = [&](const WinogradTiles& tiles) {
    constexpr std::int64_t block = 16, cached = 1 << 22, load = 24;
    const std::int64_t transformed = tiles.points() * tiles.phases();
    return transformed * (block * tiles.count() + (transformed * filters > cached ? load : 0));
  };
  // Large tiles save products where the image fills them.
  WinogradTiles best = of_side(2);
  for (const std::int64_t side : {3, 4}) {
    if (side == 3 && stride == 1) continue;
    const WinogradTiles tiles = of_side(side);
    if (cost(tiles) < cost(best)) best = tiles;
  }
  return best;
}

std::int64_t winograd_stride(std::int64_t rows, std::int64_t columns) {
  return rows * columns + lanes;
}

}  // namespace stanley
