#include "kernels/amx_product.hpp"

namespace stanley {
namespace {

#if defined(__x86_64__)
// Tiles 0 to 3 are sums, 4 and 5 weights, 6 and 7 sources. GCC's own functions for these
// instructions don't say that they read memory.

struct alignas(64) TileShapes {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

template <int tile>
inline void load_tile(const void* from) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(64L), "i"(tile) : "memory");
}
template <int tile>
inline void store_tile(float* to) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(64L), "i"(tile) : "memory");
}
template <int tile>
inline void start_tile(const float* from) {
  if (from == nullptr) {
    asm volatile("tilezero %%tmm%c0" ::"i"(tile));
  } else {
    load_tile<tile>(from);
  }
}
template <int sums, int weights, int sources>
inline void multiply_tile() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(sums), "i"(weights), "i"(sources));
}

template <int filter_tiles, int pixels>
void multiply_amx(const AmxProduct& product) {
  const auto start = [&](int pixel, int filters) {
    return product.start == nullptr
               ? nullptr
               : product.start + pixel * product.start_step + filters * tile_sums;
  };
  start_tile<0>(start(0, 0));
  if constexpr (filter_tiles == 2) start_tile<1>(start(0, 1));
  if constexpr (pixels == 2) start_tile<2>(start(1, 0));
  if constexpr (filter_tiles == 2 && pixels == 2) start_tile<3>(start(1, 1));
  const Bfloat16* weight = product.weight;
  for (int row = 0; row < product.rows; ++row) {
    const Bfloat16* source = product.source[row];
    for (std::int64_t block = 0; block < product.blocks; ++block) {
      load_tile<6>(source);
      load_tile<4>(weight);
      multiply_tile<0, 4, 6>();
      if constexpr (filter_tiles == 2) {
        load_tile<5>(weight + product.weight_step);
        multiply_tile<1, 5, 6>();
      }
      if constexpr (pixels == 2) {
        load_tile<7>(source + product.pixel_step);
        multiply_tile<2, 4, 7>();
        if constexpr (filter_tiles == 2) multiply_tile<3, 5, 7>();
      }
      weight += tile_size;
      source += tile_size;
    }
  }
  constexpr int next_pixel = filter_tiles * static_cast<int>(tile_sums);
  store_tile<0>(product.sums);
  if constexpr (filter_tiles == 2) store_tile<1>(product.sums + tile_sums);
  if constexpr (pixels == 2) store_tile<2>(product.sums + next_pixel);
  if constexpr (filter_tiles == 2 && pixels == 2) {
    store_tile<3>(product.sums + next_pixel + tile_sums);
  }
}

void start_tiles() {
  static const TileShapes shapes;
  asm volatile("ldtilecfg %0" ::"m"(shapes));
}

void end_tiles() { asm volatile("tilerelease"); }
#else
void start_tiles() {}
void end_tiles() {}
#endif

}  // namespace

#if defined(__x86_64__)
namespace amx {

void multiply_tiles(const AmxProduct& product) {
  if (product.filter_tiles == 2) {
    return product.pixels == 2 ? multiply_amx<2, 2>(product) : multiply_amx<2, 1>(product);
  }
  return product.pixels == 2 ? multiply_amx<1, 2>(product) : multiply_amx<1, 1>(product);
}

}  // namespace amx
#endif

AmxTiles::AmxTiles() : configured_(instruction_set() == InstructionSet::amx) {
  if (configured_) start_tiles();
}

AmxTiles::~AmxTiles() {
  if (configured_) end_tiles();
}

}  // namespace stanley
