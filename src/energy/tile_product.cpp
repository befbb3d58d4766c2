#include "energy/tile_product.hpp"

#include "energy/vectorized.hpp"

#if defined(STANLEY_X86_64)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace stanley {
namespace {

#if defined(STANLEY_X86_64)
// --- AMX -----------------------------------------------------------------------------------------
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
STANLEY_INLINE void load_tile(const void* from) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(64L), "i"(tile) : "memory");
}
template <int tile>
STANLEY_INLINE void store_tile(float* to) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(64L), "i"(tile) : "memory");
}
template <int tile>
STANLEY_INLINE void start_tile(const float* from) {
  if (from == nullptr) {
    asm volatile("tilezero %%tmm%c0" ::"i"(tile));
  } else {
    load_tile<tile>(from);
  }
}
template <int sums, int weights, int sources>
STANLEY_INLINE void multiply_tile() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(sums), "i"(weights), "i"(sources));
}

template <int filter_tiles, int pixels>
void multiply_amx(const TileProduct& product) {
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

void multiply_amx(const TileProduct& product) {
  if (product.filter_tiles == 2) {
    return product.pixels == 2 ? multiply_amx<2, 2>(product) : multiply_amx<2, 1>(product);
  }
  return product.pixels == 2 ? multiply_amx<1, 2>(product) : multiply_amx<1, 1>(product);
}

void start_tiles() {
  static const TileShapes shapes;
  asm volatile("ldtilecfg %0" ::"m"(shapes));
}

void end_tiles() { asm volatile("tilerelease"); }

bool ask_for_tiles() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned bfloat16 = 1U << 22, tile = 1U << 24;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  if ((d & bfloat16) == 0 || (d & tile) == 0) return false;
  // The system gives a process the tiles' registers when it asks for them.
  constexpr long request_permission = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}
#else
void multiply_amx(const TileProduct&) {}
void start_tiles() {}
void end_tiles() {}
bool ask_for_tiles() { return false; }
#endif

// --- vectors -------------------------------------------------------------------------------------

typedef std::uint32_t BfloatPair __attribute__((aligned(4), may_alias));

/// The two bfloat16 numbers of each lane as floats.
template <int floats>
STANLEY_INLINE void unpack(const typename Vectors<floats>::Integers& pairs, Lanes<floats>& first,
                           Lanes<floats>& second) {
  using Integers = typename Vectors<floats>::Integers;
  const Integers low = pairs << 16, high = pairs & -65536;
  first = reinterpret_cast<const Lanes<floats>&>(low);
  second = reinterpret_cast<const Lanes<floats>&>(high);
}

/// Sums over a pair of channels for some filters, from the pair of one pixel and its weights, which
/// stand `tile_depth` elements apart.
template <int floats, bool converts, int filters, int vectors>
STANLEY_INLINE void add_pair(const Bfloat16* source, const Bfloat16* weight,
                             Lanes<floats> (&sum)[filters][vectors]) {
  using Integers = typename Vectors<floats>::Integers;
  if constexpr (converts) {  // and multiplies too: AVX-512 has both or none
    const Integers& pair = *reinterpret_cast<const Integers*>(source);
#pragma GCC unroll 16
    for (int f = 0; f < filters; ++f) {
      asm("vdpbf16ps %2%{1to16%}, %1, %0"
          : "+v"(sum[f][0])
          : "v"(pair), "m"(reinterpret_cast<const BfloatPair&>(weight[f * tile_depth])));
    }
  } else {
    Lanes<floats> first[vectors], second[vectors];
    for (int v = 0; v < vectors; ++v) {
      unpack<floats>(reinterpret_cast<const Integers*>(source)[v], first[v], second[v]);
    }
#pragma GCC unroll 4
    for (int f = 0; f < filters; ++f) {
      const float a = to_float(weight[f * tile_depth]), b = to_float(weight[f * tile_depth + 1]);
      for (int v = 0; v < vectors; ++v) sum[f][v] += first[v] * a + second[v] * b;
    }
  }
}

/// Some filters of one tile, for all images of one pixel.
template <int floats, bool converts, int filters>
STANLEY_INLINE void multiply_filters(const TileProduct& product, const Bfloat16* weight,
                                     std::int64_t source_offset, const float* start, float* sums) {
  constexpr int vectors = static_cast<int>(tile_images) / floats;
  Lanes<floats> sum[filters][vectors] = {};
  if (start != nullptr) {
#pragma GCC unroll 16
    for (int f = 0; f < filters; ++f) {
      for (int v = 0; v < vectors; ++v) {
        sum[f][v] = reinterpret_cast<const Lanes<floats>*>(start + f * tile_images)[v];
      }
    }
  }
  for (int row = 0; row < product.rows; ++row) {
    const Bfloat16* source = product.source[row] + source_offset;
    for (std::int64_t block = 0; block < product.blocks; ++block) {
      for (std::int64_t pair = 0; pair < tile_depth / 2; ++pair) {
        add_pair<floats, converts>(source + pair * 2 * tile_images, weight + 2 * pair, sum);
      }
      weight += tile_size;
      source += tile_size;
    }
  }
#pragma GCC unroll 16
  for (int f = 0; f < filters; ++f) {
    for (int v = 0; v < vectors; ++v) {
      reinterpret_cast<Lanes<floats>*>(sums + f * tile_images)[v] = sum[f][v];
    }
  }
}

void multiply_by_vectors(const TileProduct& product) {
  with_bfloat16_vectors([&](auto floats, auto converts) STANLEY_ALWAYS_INLINE {
    constexpr int filters = converts() ? 16 : 4;  // whose sums fit in the registers
    for (std::int64_t i = 0; i < product.pixels * product.filter_tiles; ++i) {
      const std::int64_t pixel = i / product.filter_tiles, tile = i % product.filter_tiles;
      for (std::int64_t filter = 0; filter < tile_filters; filter += filters) {
        const std::int64_t at = tile * tile_sums + filter * tile_images;
        multiply_filters<floats(), converts(), filters>(
            product, product.weight + tile * product.weight_step + filter * tile_depth,
            pixel * product.pixel_step,
            product.start == nullptr ? nullptr : product.start + pixel * product.start_step + at,
            product.sums + pixel * product.filter_tiles * tile_sums + at);
      }
    }
  });
}

}  // namespace

bool processor_has_tiles() {
  static const bool has = ask_for_tiles();
  return has;
}

Tiles::Tiles(bool by_amx) : by_amx_(by_amx) {
  if (by_amx_) start_tiles();
}

Tiles::~Tiles() {
  if (by_amx_) end_tiles();
}

void Tiles::multiply(const TileProduct& product) const {
  if (by_amx_) return multiply_amx(product);
  multiply_by_vectors(product);
}

}  // namespace stanley
