#include "energy/tile_passes.hpp"

#include <algorithm>

#include "energy/activation_vector.hpp"
#include "energy/vectorized.hpp"

namespace stanley {
namespace {

/// Elements of a pair of channels.
constexpr std::int64_t pair_size = 2 * tile_images;

/// The vectors of a pair of channels: two of floats for each of integers.
template <int floats>
constexpr int vectors = static_cast<int>(tile_images) / floats;

template <int floats>
STANLEY_INLINE void unpack(const Bfloat16* pairs, int vector, Lanes<floats>& first,
                           Lanes<floats>& second) {
  using Integers = typename Vectors<floats>::Integers;
  const Integers both = reinterpret_cast<const Integers*>(pairs)[vector];
  const Integers low = both << 16, high = both & -65536;
  first = reinterpret_cast<const Lanes<floats>&>(low);
  second = reinterpret_cast<const Lanes<floats>&>(high);
}

/// Rounds as from_float<Bfloat16>() does; the result stands in the upper half.
template <int floats>
STANLEY_INLINE void round_up(const Lanes<floats>& value,
                             typename Vectors<floats>::Integers& rounded) {
  using Integers = typename Vectors<floats>::Integers;
  const Integers bits = reinterpret_cast<const Integers&>(value);
  const Integers sum = bits + 0x7fff + ((bits >> 16) & 1);
  rounded = value == value ? sum : bits | 0x400000;
}

typedef std::uint16_t Halves __attribute__((vector_size(64), aligned(4), may_alias));

/// The numbers of a vector of pairs, each one from `first` and one from `second`, in bfloat16.
template <int floats, bool converts>
STANLEY_INLINE void pack(const Lanes<floats>& first, const Lanes<floats>& second, Bfloat16* pairs,
                         int vector) {
  if constexpr (converts) {
    Halves both;
    asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(first), "v"(second));
    const Halves turns = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                          8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    reinterpret_cast<Halves*>(pairs)[vector] = __builtin_shuffle(both, turns);
  } else {
    using Integers = typename Vectors<floats>::Integers;
    Integers low, high;
    round_up<floats>(first, low);
    round_up<floats>(second, high);
    reinterpret_cast<Integers*>(pairs)[vector] = ((low >> 16) & 0xffff) | (high & -65536);
  }
}

template <int floats>
STANLEY_INLINE const Lanes<floats>& at(const float* row, int vector) {
  return reinterpret_cast<const Lanes<floats>*>(row)[vector];
}

template <int floats>
STANLEY_INLINE void activate(const TileActivation& pass, Lanes<floats>& z, Lanes<floats>& slope) {
  if (pass.activation == Activation::silu) {
    rough_silu_with_derivative<floats>(z, slope);
  } else {
    const Lanes<floats> zero = {};
    slope = z > zero ? zero + 1.0F : zero + pass.slope;
    z *= slope;
  }
}

template <int floats, bool converts>
STANLEY_INLINE void activate_pass(const TileActivation& pass) {
  for (std::int64_t pair = 0; pair < pass.channels / 2; ++pair) {
    const float* z = pass.z + pair * pair_size;
    const std::int64_t offset = pair * pair_size;
    for (int v = 0; v < vectors<floats>; ++v) {
      Lanes<floats> first = at<floats>(z, v), second = at<floats>(z + tile_images, v);
      if (pass.skip != nullptr) {
        Lanes<floats> a, b;
        unpack<floats>(pass.skip + offset, v, a, b);
        first += a;
        second += b;
      }
      if (pass.hidden != nullptr) pack<floats, converts>(first, second, pass.hidden + offset, v);
      Lanes<floats> first_slope, second_slope;
      activate<floats>(pass, first, first_slope);
      activate<floats>(pass, second, second_slope);
      if (pass.value != nullptr) pack<floats, converts>(first, second, pass.value + offset, v);
      pack<floats, converts>(first_slope, second_slope, pass.derivative + offset, v);
    }
  }
}

template <int floats, bool converts>
STANLEY_INLINE void multiply_pass(const TileDerivative& pass) {
  for (std::int64_t pair = 0; pair < pass.channels / 2; ++pair) {
    const float* gradient = pass.gradient + pair * pair_size;
    const std::int64_t offset = pair * pair_size;
    for (int v = 0; v < vectors<floats>; ++v) {
      Lanes<floats> first, second;
      unpack<floats>(pass.derivative + offset, v, first, second);
      first *= at<floats>(gradient, v);
      second *= at<floats>(gradient + tile_images, v);
      if (pass.skip != nullptr) {
        Lanes<floats> a, b;
        unpack<floats>(pass.skip + offset, v, a, b);
        first += pass.factor * a;
        second += pass.factor * b;
      }
      pack<floats, converts>(first, second, pass.out + offset, v);
    }
  }
}

template <int floats, bool converts>
STANLEY_INLINE void store_pass(std::int64_t channels, const float* sums, Bfloat16* out) {
  for (std::int64_t pair = 0; pair < channels / 2; ++pair) {
    for (int v = 0; v < vectors<floats>; ++v) {
      const float* row = sums + pair * pair_size;
      pack<floats, converts>(at<floats>(row, v), at<floats>(row + tile_images, v),
                             out + pair * pair_size, v);
    }
  }
}

template <int floats>
STANLEY_INLINE void add_energies_pass(std::int64_t channels, const float* weight,
                                      const Bfloat16* value, float* energies) {
  for (int v = 0; v < vectors<floats>; ++v) {
    Lanes<floats> sums[2] = {};
    for (std::int64_t pair = 0; pair < channels / 2; ++pair) {
      Lanes<floats> first, second;
      unpack<floats>(value + pair * pair_size, v, first, second);
      sums[0] += first * weight[2 * pair];
      sums[1] += second * weight[2 * pair + 1];
    }
    reinterpret_cast<Lanes<floats>*>(energies)[v] += sums[0] + sums[1];
  }
}

template <int floats, bool converts>
STANLEY_INLINE void start_gradient_pass(std::int64_t channels, const float* weight,
                                        const float* factor, const Bfloat16* derivative,
                                        Bfloat16* out) {
  for (std::int64_t pair = 0; pair < channels / 2; ++pair) {
    for (int v = 0; v < vectors<floats>; ++v) {
      Lanes<floats> first, second;
      unpack<floats>(derivative + pair * pair_size, v, first, second);
      first *= at<floats>(factor, v) * weight[2 * pair];
      second *= at<floats>(factor, v) * weight[2 * pair + 1];
      pack<floats, converts>(first, second, out + pair * pair_size, v);
    }
  }
}

template <int floats>
STANLEY_INLINE void add_products_pass(std::int64_t channels, const float* factor,
                                      const Bfloat16* value, float* sums) {
  for (std::int64_t pair = 0; pair < channels / 2; ++pair) {
    for (int v = 0; v < vectors<floats>; ++v) {
      Lanes<floats> first, second;
      unpack<floats>(value + pair * pair_size, v, first, second);
      float* sum = sums + pair * pair_size;
      reinterpret_cast<Lanes<floats>*>(sum)[v] += first * at<floats>(factor, v);
      reinterpret_cast<Lanes<floats>*>(sum + tile_images)[v] += second * at<floats>(factor, v);
    }
  }
}

/// Turns as many vectors as they have lanes: lane i of vector j becomes lane j of vector i. Swaps
/// squares of `distance` that stand off the diagonal, then those within the squares.
template <int floats, int distance = floats / 2>
STANLEY_INLINE void transpose(Lanes<floats>* rows) {
  typename Vectors<floats>::Integers upper, lower;
  for (int lane = 0; lane < floats; ++lane) {
    const bool right = (lane & distance) != 0;
    upper[lane] = right ? floats + lane - distance : lane;
    lower[lane] = right ? floats + lane : lane + distance;
  }
#pragma GCC unroll 16
  for (int i = 0; i < floats; ++i) {
    if ((i & distance) != 0) continue;
    const Lanes<floats> a = rows[i], b = rows[i + distance];
    rows[i] = __builtin_shuffle(a, b, upper);
    rows[i + distance] = __builtin_shuffle(a, b, lower);
  }
  if constexpr (distance > 1) transpose<floats, distance / 2>(rows);
}

typedef std::uint16_t Half __attribute__((vector_size(16), aligned(2), may_alias));

/// One of a pair's two numbers, of eight images.
STANLEY_INLINE void take_half(const Bfloat16* pairs, bool second, int vector, Half& half) {
  using Integers = Vectors<8>::Integers;
  const Integers both = reinterpret_cast<const Integers*>(pairs)[vector];
  half = __builtin_convertvector(second ? (both >> 16) & 0xffff : both & 0xffff, Half);
}

STANLEY_INLINE void pack_weights_pass(const Bfloat16* pixel, Bfloat16* out) {
  for (int channel = 0; channel < tile_filters; ++channel) {
    for (int v = 0; v < 2; ++v) {
      Half half;
      take_half(pixel + channel / 2 * pair_size, channel % 2 != 0, v, half);
      reinterpret_cast<Half*>(out + channel * tile_depth)[v] = half;
    }
  }
}

STANLEY_INLINE void pack_sources_pass(const Bfloat16* pixel, Bfloat16* out) {
  for (int eight = 0; eight < 2; ++eight) {
    Lanes<8> rows[8];
    for (int i = 0; i < 8; ++i) {
      const Bfloat16* pairs = pixel + (8 * eight + i) / 2 * pair_size;
      for (int v = 0; v < 2; ++v) {
        take_half(pairs, i % 2 != 0, v, reinterpret_cast<Half*>(&rows[i])[v]);
      }
    }
    transpose<8>(rows);  // pairs of images stand in a lane
    for (int i = 0; i < 8; ++i) {
      reinterpret_cast<Lanes<8>*>(out + i * 2 * tile_filters)[eight] = rows[i];
    }
  }
}

template <int floats, bool converts>
STANLEY_INLINE void mean_pass(std::int64_t channels, const Bfloat16* const* pixels, Bfloat16* out) {
  for (std::int64_t pair = 0; pair < channels / 2; ++pair) {
    for (int v = 0; v < vectors<floats>; ++v) {
      Lanes<floats> first[4], second[4];
      for (int i = 0; i < 4; ++i) {
        unpack<floats>(pixels[i] + pair * pair_size, v, first[i], second[i]);
      }
      pack<floats, converts>(0.25F * ((first[0] + first[1]) + (first[2] + first[3])),
                             0.25F * ((second[0] + second[1]) + (second[2] + second[3])),
                             out + pair * pair_size, v);
    }
  }
}

/// From so many columns of sixteen images' rows to [column, image], with columns `step` apart.
template <int floats>
STANLEY_INLINE void gather_columns(std::int64_t columns, const float* const* images, float* out,
                                   std::int64_t step) {
  for (std::int64_t image = 0; image < tile_images; image += floats) {
    std::int64_t x = 0;
    for (; x + floats <= columns; x += floats) {
      Lanes<floats> rows[floats];
#pragma GCC unroll 16
      for (int i = 0; i < floats; ++i) rows[i] = at<floats>(images[image + i] + x, 0);
      transpose<floats>(rows);
#pragma GCC unroll 16
      for (int i = 0; i < floats; ++i) {
        reinterpret_cast<Lanes<floats>&>(out[(x + i) * step + image]) = rows[i];
      }
    }
    for (; x < columns; ++x) {
      for (int i = 0; i < floats; ++i) out[x * step + image + i] = images[image + i][x];
    }
  }
}

/// The other way, for the first `count` images.
template <int floats>
STANLEY_INLINE void scatter_columns(std::int64_t columns, const float* in, std::int64_t step,
                                    std::int64_t count, float* const* images) {
  for (std::int64_t image = 0; image < count; image += floats) {
    const int here = static_cast<int>(std::min<std::int64_t>(floats, count - image));
    std::int64_t x = 0;
    for (; x + floats <= columns; x += floats) {
      Lanes<floats> rows[floats];
#pragma GCC unroll 16
      for (int i = 0; i < floats; ++i) rows[i] = at<floats>(in + (x + i) * step + image, 0);
      transpose<floats>(rows);
      for (int i = 0; i < here; ++i) {
        reinterpret_cast<Lanes<floats>&>(images[image + i][x]) = rows[i];
      }
    }
    for (; x < columns; ++x) {
      for (int i = 0; i < here; ++i) images[image + i][x] = in[x * step + image + i];
    }
  }
}

template <int floats, bool converts>
STANLEY_INLINE void pair_pass(std::int64_t entries, const float* rows, Bfloat16* out) {
  for (std::int64_t i = 0; i < entries; ++i) {
    const float* row = rows + i * tile_images;
    for (int v = 0; v < vectors<floats>; ++v) {
      pack<floats, converts>(at<floats>(row, v), at<floats>(row + tile_images, v),
                             out + i * pair_size, v);
    }
  }
}

template <int floats>
STANLEY_INLINE void add_taps_pass(std::int64_t channels, std::int64_t first, std::int64_t end,
                                  const float* taps, float* const* rows) {
  const std::int64_t row_size = 3 * channels;
  for (std::int64_t tap = first; tap < end;) {
    const std::int64_t y = tap / row_size, stop = std::min(end, (y + 1) * row_size);
    float* to = rows[y] + tap % row_size * tile_images;
    const float* from = taps + (tap - first) * tile_images;
    for (std::int64_t i = 0; i < (stop - tap) * tile_images; i += floats) {
      reinterpret_cast<Lanes<floats>&>(to[i]) += at<floats>(from + i, 0);
    }
    tap = stop;
  }
}

}  // namespace

void activate_tiles(const TileActivation& pass) {
  with_bfloat16_vectors([&](auto floats, auto converts)
                            STANLEY_ALWAYS_INLINE { activate_pass<floats(), converts()>(pass); });
}

void multiply_tiles(const TileDerivative& pass) {
  with_bfloat16_vectors([&](auto floats, auto converts)
                            STANLEY_ALWAYS_INLINE { multiply_pass<floats(), converts()>(pass); });
}

void store_tiles(std::int64_t channels, const float* sums, Bfloat16* out) {
  with_bfloat16_vectors([&](auto floats, auto converts) STANLEY_ALWAYS_INLINE {
    store_pass<floats(), converts()>(channels, sums, out);
  });
}

void add_energies(std::int64_t channels, const float* weight, const Bfloat16* value,
                  float* energies) {
  with_vectors([&](auto floats) STANLEY_ALWAYS_INLINE {
    add_energies_pass<floats()>(channels, weight, value, energies);
  });
}

void start_gradient(std::int64_t channels, const float* weight, const float* factor,
                    const Bfloat16* derivative, Bfloat16* out) {
  with_bfloat16_vectors([&](auto floats, auto converts) STANLEY_ALWAYS_INLINE {
    start_gradient_pass<floats(), converts()>(channels, weight, factor, derivative, out);
  });
}

void add_products(std::int64_t channels, const float* factor, const Bfloat16* value, float* sums) {
  with_vectors([&](auto floats) STANLEY_ALWAYS_INLINE {
    add_products_pass<floats()>(channels, factor, value, sums);
  });
}

void pack_as_weights(const Bfloat16* pixel, Bfloat16* out) {
  with_vectors([&](auto) STANLEY_ALWAYS_INLINE { pack_weights_pass(pixel, out); });
}

void pack_as_sources(const Bfloat16* pixel, Bfloat16* out) {
  with_vectors([&](auto) STANLEY_ALWAYS_INLINE { pack_sources_pass(pixel, out); });
}

void mean_of_pixels(std::int64_t channels, const Bfloat16* const* pixels, Bfloat16* out) {
  with_bfloat16_vectors([&](auto floats, auto converts) STANLEY_ALWAYS_INLINE {
    mean_pass<floats(), converts()>(channels, pixels, out);
  });
}

void load_state_row(std::int64_t count, std::int64_t channels, std::int64_t height,
                    std::int64_t width, std::int64_t y, const float* states, float* scratch,
                    Bfloat16* out) {
  const std::int64_t plane = height * width, size = channels * plane;
  const float* from[tile_images];
  for (std::int64_t image = 0; image < tile_images; ++image) {
    from[image] = states + std::min(image, count - 1) * size + y * width;
  }
  with_bfloat16_vectors([&](auto floats, auto converts) STANLEY_ALWAYS_INLINE {
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      gather_columns<floats()>(width, from, scratch + (channels + channel) * tile_images,
                               channels * tile_images);
      for (const float*& image : from) image += plane;
    }
    pair_pass<floats(), converts()>((width + 2) * channels, scratch, out);
  });
}

void add_taps(std::int64_t channels, std::int64_t first, std::int64_t end, const float* taps,
              float* const* rows) {
  with_vectors([&](auto floats) STANLEY_ALWAYS_INLINE {
    add_taps_pass<floats()>(channels, first, end, taps, rows);
  });
}

void store_state_row(std::int64_t count, std::int64_t channels, std::int64_t height,
                     std::int64_t width, std::int64_t y, const float* row, float* states) {
  const std::int64_t plane = height * width, size = channels * plane;
  float* to[tile_images];
  for (std::int64_t image = 0; image < count; ++image)
    to[image] = states + image * size + y * width;
  with_vectors([&](auto floats) STANLEY_ALWAYS_INLINE {
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      scatter_columns<floats()>(width, row + channel * tile_images, channels * tile_images, count,
                                to);
      for (std::int64_t image = 0; image < count; ++image) to[image] += plane;
    }
  });
}

}  // namespace stanley
