#include "kernels/amx_product.hpp"

#include "kernels/vectors/pairs.hpp"

// Clang 16 itself ends with a segmentation fault where it optimises this instruction.
#if defined(__AVX512BF16__) && !(defined(__clang__) && __clang_major__ < 17)
#define STANLEY_DOT_PRODUCTS
#endif

namespace stanley::STANLEY_SET {
namespace {

#if defined(STANLEY_DOT_PRODUCTS)
constexpr int filters_at_once = 16;  // whose sums fit in the registers
#else
constexpr int filters_at_once = 4;
#endif
constexpr int vectors = static_cast<int>(tile_images) / floats;
using Sums = Lanes[filters_at_once][vectors];

/// Sums over a pair of channels for some filters, from the pair of one pixel and its weights, which
/// stand `tile_depth` elements apart.
STANLEY_INLINE void add_pair(const Bfloat16* source, const Bfloat16* weight, Sums& sum) {
#if defined(STANLEY_DOT_PRODUCTS)
  typedef std::int32_t WeightPair __attribute__((aligned(4), may_alias));
  const __m512i pair = _mm512_loadu_si512(source);
#pragma GCC unroll 16
  for (int f = 0; f < filters_at_once; ++f) {
    const __m512i both =
        _mm512_set1_epi32(reinterpret_cast<const WeightPair&>(weight[f * tile_depth]));
    sum[f][0] =
        _mm512_dpbf16_ps(static_cast<__m512>(sum[f][0]), reinterpret_cast<const __m512bh&>(pair),
                         reinterpret_cast<const __m512bh&>(both));
  }
#else
  Lanes first[vectors], second[vectors];
  for (int v = 0; v < vectors; ++v) unpack(source, v, first[v], second[v]);
#pragma GCC unroll 4
  for (int f = 0; f < filters_at_once; ++f) {
    const float a = to_float(weight[f * tile_depth]), b = to_float(weight[f * tile_depth + 1]);
    for (int v = 0; v < vectors; ++v) sum[f][v] += first[v] * a + second[v] * b;
  }
#endif
}

/// Some filters of one tile, for all images of one pixel.
STANLEY_INLINE void multiply_filters(const AmxProduct& product, const Bfloat16* weight,
                                     std::int64_t source_offset, const float* start, float* sums) {
  Sums sum = {};
  if (start != nullptr) {
#pragma GCC unroll 16
    for (int f = 0; f < filters_at_once; ++f) {
      for (int v = 0; v < vectors; ++v) {
        sum[f][v] = *at(start + f * tile_images, v);
      }
    }
  }
  for (int row = 0; row < product.rows; ++row) {
    const Bfloat16* source = product.source[row] + source_offset;
    for (std::int64_t block = 0; block < product.blocks; ++block) {
      for (std::int64_t pair = 0; pair < tile_depth / 2; ++pair) {
        add_pair(source + pair * 2 * tile_images, weight + 2 * pair, sum);
      }
      weight += tile_size;
      source += tile_size;
    }
  }
#pragma GCC unroll 16
  for (int f = 0; f < filters_at_once; ++f) {
    for (int v = 0; v < vectors; ++v) {
      *at(sums + f * tile_images, v) = sum[f][v];
    }
  }
}

}  // namespace

void multiply_tiles(const AmxProduct& product) {
  for (std::int64_t i = 0; i < product.pixels * product.filter_tiles; ++i) {
    const std::int64_t pixel = i / product.filter_tiles, tile = i % product.filter_tiles;
    for (std::int64_t filter = 0; filter < tile_filters; filter += filters_at_once) {
      const std::int64_t first = tile * tile_sums + filter * tile_images;
      multiply_filters(
          product, product.weight + tile * product.weight_step + filter * tile_depth,
          pixel * product.pixel_step,
          product.start == nullptr ? nullptr : product.start + pixel * product.start_step + first,
          product.sums + pixel * product.filter_tiles * tile_sums + first);
    }
  }
}

}  // namespace stanley::STANLEY_SET
