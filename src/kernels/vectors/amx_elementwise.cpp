#include "kernels/amx_elementwise.hpp"

#include <algorithm>

#include "kernels/vectors.hpp"
#include "kernels/vectors/activation.hpp"
#include "kernels/vectors/pairs.hpp"

namespace stanley::STANLEY_SET {
namespace {

/// Elements of a pair of channels.
constexpr std::int64_t pair_size = 2 * tile_images;

/// The vectors of a pair of channels: two of floats for each of integers.
constexpr int vectors = static_cast<int>(tile_images) / floats;

STANLEY_INLINE void activate(const PixelActivation& pass, Lanes& z, Lanes& slope) {
  if (pass.activation == Activation::silu) {
    rough_silu_with_derivative<floats>(z, slope);
  } else {
    const Lanes zero = {};
    slope = z > zero ? zero + 1.0F : zero + pass.slope;
    z *= slope;
  }
}

typedef std::uint16_t Half __attribute__((vector_size(16), aligned(2), may_alias));

/// One of a pair's two numbers, of eight images.
STANLEY_INLINE void take_half(const Bfloat16* pairs, bool second, int vector, Half& half) {
  using Bits = Vectors<8>::Integers;
  const Bits both = reinterpret_cast<const Vectors<8>::StoredIntegers*>(pairs)[vector];
  half = __builtin_convertvector(second ? (both >> 16) & 0xffff : both & 0xffff, Half);
}

/// From so many columns of sixteen images' rows to [column, image], with columns `step` apart.
STANLEY_INLINE void gather_columns(std::int64_t columns, const float* const* images, float* out,
                                   std::int64_t step) {
  for (std::int64_t image = 0; image < tile_images; image += floats) {
    std::int64_t x = 0;
    for (; x + floats <= columns; x += floats) {
      Lanes rows[floats];
#pragma GCC unroll 16
      for (int i = 0; i < floats; ++i) rows[i] = *at(images[image + i] + x);
      transpose<floats>(rows);
#pragma GCC unroll 16
      for (int i = 0; i < floats; ++i) {
        *at(out + (x + i) * step + image) = rows[i];
      }
    }
    for (; x < columns; ++x) {
      for (int i = 0; i < floats; ++i) out[x * step + image + i] = images[image + i][x];
    }
  }
}

/// The other way, for the first `count` images.
STANLEY_INLINE void scatter_columns(std::int64_t columns, const float* in, std::int64_t step,
                                    std::int64_t count, float* const* images) {
  for (std::int64_t image = 0; image < count; image += floats) {
    const int here = static_cast<int>(std::min<std::int64_t>(floats, count - image));
    std::int64_t x = 0;
    for (; x + floats <= columns; x += floats) {
      Lanes rows[floats];
#pragma GCC unroll 16
      for (int i = 0; i < floats; ++i) rows[i] = *at(in + (x + i) * step + image);
      transpose<floats>(rows);
      for (int i = 0; i < here; ++i) {
        *at(images[image + i] + x) = rows[i];
      }
    }
    for (; x < columns; ++x) {
      for (int i = 0; i < here; ++i) images[image + i][x] = in[x * step + image + i];
    }
  }
}

/// `count` pairs of rows [image] side by side, whose first rows are `step` rows apart.
STANLEY_INLINE void pack_rows(std::int64_t count, std::int64_t step, const float* rows,
                              Bfloat16* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float* row = rows + i * step * tile_images;
    for (int v = 0; v < vectors; ++v) {
      const Lanes first = *at(row, v), second = *at(row + tile_images, v);
      pack(first, second, out + i * pair_size, v);
    }
  }
}

}  // namespace

void activate_pixel(const PixelActivation& pass) {
  for (std::int64_t pair = 0; pair < pass.channels / 2; ++pair) {
    const float* z = pass.z + pair * pair_size;
    const std::int64_t offset = pair * pair_size;
    for (int v = 0; v < vectors; ++v) {
      Lanes first = *at(z, v), second = *at(z + tile_images, v);
      if (pass.skip != nullptr) {
        Lanes a, b;
        unpack(pass.skip + offset, v, a, b);
        first += a;
        second += b;
      }
      if (pass.hidden != nullptr) pack(first, second, pass.hidden + offset, v);
      Lanes first_slope, second_slope;
      activate(pass, first, first_slope);
      activate(pass, second, second_slope);
      if (pass.value != nullptr) pack(first, second, pass.value + offset, v);
      pack(first_slope, second_slope, pass.derivative + offset, v);
    }
  }
}

void multiply_pixel(const PixelDerivative& pass) {
  for (std::int64_t pair = 0; pair < pass.channels / 2; ++pair) {
    const float* gradient = pass.gradient + pair * pair_size;
    const std::int64_t offset = pair * pair_size;
    for (int v = 0; v < vectors; ++v) {
      Lanes first, second;
      unpack(pass.derivative + offset, v, first, second);
      first *= *at(gradient, v);
      second *= *at(gradient + tile_images, v);
      if (pass.skip != nullptr) {
        Lanes a, b;
        unpack(pass.skip + offset, v, a, b);
        first += pass.factor * a;
        second += pass.factor * b;
      }
      pack(first, second, pass.out + offset, v);
    }
  }
}

void store_pixel(std::int64_t channels, const float* sums, Bfloat16* out) {
  pack_rows(channels / 2, 2, sums, out);
}

void add_energies(std::int64_t channels, const float* weight, const Bfloat16* value,
                  float* energies) {
  for (int v = 0; v < vectors; ++v) {
    Lanes sums[2] = {};
    for (std::int64_t pair = 0; pair < channels / 2; ++pair) {
      Lanes first, second;
      unpack(value + pair * pair_size, v, first, second);
      sums[0] += first * weight[2 * pair];
      sums[1] += second * weight[2 * pair + 1];
    }
    *at(energies, v) += sums[0] + sums[1];
  }
}

void start_gradient(std::int64_t channels, const float* weight, const float* factor,
                    const Bfloat16* derivative, Bfloat16* out) {
  for (std::int64_t pair = 0; pair < channels / 2; ++pair) {
    for (int v = 0; v < vectors; ++v) {
      Lanes first, second;
      unpack(derivative + pair * pair_size, v, first, second);
      first *= *at(factor, v) * weight[2 * pair];
      second *= *at(factor, v) * weight[2 * pair + 1];
      pack(first, second, out + pair * pair_size, v);
    }
  }
}

void add_products(std::int64_t channels, const float* factor, const Bfloat16* value, float* sums) {
  for (std::int64_t pair = 0; pair < channels / 2; ++pair) {
    for (int v = 0; v < vectors; ++v) {
      Lanes first, second;
      unpack(value + pair * pair_size, v, first, second);
      float* sum = sums + pair * pair_size;
      *at(sum, v) += first * *at(factor, v);
      *at(sum + tile_images, v) += second * *at(factor, v);
    }
  }
}

void pack_as_weights(const Bfloat16* pixel, Bfloat16* out) {
  for (int channel = 0; channel < tile_filters; ++channel) {
    for (int v = 0; v < 2; ++v) {
      Half half;
      take_half(pixel + channel / 2 * pair_size, channel % 2 != 0, v, half);
      reinterpret_cast<Half*>(out + channel * tile_depth)[v] = half;
    }
  }
}

void pack_as_sources(const Bfloat16* pixel, Bfloat16* out) {
  for (int eight = 0; eight < 2; ++eight) {
    LanesOf<8> rows[8];
    for (int i = 0; i < 8; ++i) {
      const Bfloat16* pairs = pixel + (8 * eight + i) / 2 * pair_size;
      for (int v = 0; v < 2; ++v) {
        take_half(pairs, i % 2 != 0, v, reinterpret_cast<Half*>(&rows[i])[v]);
      }
    }
    transpose<8>(rows);  // pairs of images stand in a lane
    for (int i = 0; i < 8; ++i) {
      reinterpret_cast<Vectors<8>::StoredLanes*>(out + i * 2 * tile_filters)[eight] = rows[i];
    }
  }
}

void mean_of_pixels(std::int64_t channels, const Bfloat16* const* pixels, Bfloat16* out) {
  for (std::int64_t pair = 0; pair < channels / 2; ++pair) {
    for (int v = 0; v < vectors; ++v) {
      Lanes first[4], second[4];
      for (int i = 0; i < 4; ++i) {
        unpack(pixels[i] + pair * pair_size, v, first[i], second[i]);
      }
      pack(0.25F * ((first[0] + first[1]) + (first[2] + first[3])),
           0.25F * ((second[0] + second[1]) + (second[2] + second[3])), out + pair * pair_size, v);
    }
  }
}

void load_state_row(std::int64_t count, std::int64_t channels, std::int64_t height,
                    std::int64_t width, std::int64_t y, const float* states, float* scratch,
                    Bfloat16* out) {
  const std::int64_t plane = height * width, size = channels * plane;
  const float* from[tile_images];
  for (std::int64_t image = 0; image < tile_images; ++image) {
    from[image] = states + std::min(image, count - 1) * size + y * width;
  }
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    gather_columns(width, from, scratch + (channels + channel) * tile_images,
                   channels * tile_images);
    for (const float*& image : from) image += plane;
  }
  pack_rows((width + 2) * channels, 1, scratch, out);
}

void add_taps(std::int64_t channels, std::int64_t first, std::int64_t end, const float* taps,
              float* const* rows) {
  const std::int64_t row_size = 3 * channels;
  for (std::int64_t tap = first; tap < end;) {
    const std::int64_t y = tap / row_size, stop = std::min(end, (y + 1) * row_size);
    float* to = rows[y] + tap % row_size * tile_images;
    const float* from = taps + (tap - first) * tile_images;
    for (std::int64_t i = 0; i < (stop - tap) * tile_images; i += floats) {
      *at(to + i) += *at(from + i);
    }
    tap = stop;
  }
}

void store_state_row(std::int64_t count, std::int64_t channels, std::int64_t height,
                     std::int64_t width, std::int64_t y, const float* row, float* states) {
  const std::int64_t plane = height * width, size = channels * plane;
  float* to[tile_images];
  for (std::int64_t image = 0; image < count; ++image)
    to[image] = states + image * size + y * width;
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    scatter_columns(width, row + channel * tile_images, channels * tile_images, count, to);
    for (std::int64_t image = 0; image < count; ++image) to[image] += plane;
  }
}

}  // namespace stanley::STANLEY_SET
