#include "energy/elementwise.hpp"

#include <algorithm>
#include <cmath>

#include "energy/vectorized.hpp"

namespace stanley {
namespace {

typedef std::int32_t IntegerLanes __attribute__((vector_size(64), aligned(4), may_alias));

STANLEY_INLINE void load(const float* from, Lanes& to) {
  to = *reinterpret_cast<const Lanes*>(from);
}
STANLEY_INLINE void load(const Bfloat16* from, Lanes& to) {
  for (int lane = 0; lane < lanes; ++lane) to[lane] = to_float(from[lane]);
}
STANLEY_INLINE void store(const Lanes& from, float* to) { *reinterpret_cast<Lanes*>(to) = from; }
STANLEY_INLINE void store(const Lanes& from, Bfloat16* to) {
  for (int lane = 0; lane < lanes; ++lane) to[lane] = from_float<Bfloat16>(from[lane]);
}

/// x <- exp(x) to about one unit in the last place: x = n·ln 2 + r, a polynomial in r, times 2ⁿ.
STANLEY_INLINE void exponential(Lanes& x) {
  constexpr float limit = 87.0F;
  x = x > limit ? limit - Lanes{} : x;
  x = x < -limit ? -limit - Lanes{} : x;
  constexpr float round = 12582912.0F;  // 1.5·2²³: adding it rounds to an integer
  const Lanes n = (x * 1.44269504F + round) - round;
  const Lanes r = x - n * 0.693359375F + n * 2.12194440e-4F;
  Lanes p = 1.9875691500e-4F * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  const Lanes q = p * r * r + r + 1.0F;
  const IntegerLanes exponent = (__builtin_convertvector(n, IntegerLanes) + 127) << 23;
  x = q * reinterpret_cast<const Lanes&>(exponent);
}

/// x <- 1/x for positive normal x, to about one unit in the last place. Three of Newton's steps
/// from a guess by the exponent cost half of a division, one of the slowest instructions.
STANLEY_INLINE void reciprocal(Lanes& x) {
  const IntegerLanes guess = 0x7ef311c7 - reinterpret_cast<const IntegerLanes&>(x);
  Lanes r = reinterpret_cast<const Lanes&>(guess);
  r += r * (1.0F - x * r);
  r += r * (1.0F - x * r);
  r += r * (1.0F - x * r);
  x = r;
}

template <typename Element>
STANLEY_INLINE void silu(std::int64_t count, Element* value, Element* derivative) {
  for (std::int64_t i = 0; i < count; i += lanes) {
    Lanes z;
    load(value + i, z);
    Lanes s = -z;
    exponential(s);
    s += 1.0F;
    reciprocal(s);
    const Lanes y = z * s;
    store(y, value + i);
    store(y * (1.0F - s) + s, derivative + i);
  }
}

template <typename Element>
STANLEY_INLINE void leaky_relu(float slope, std::int64_t count, Element* value,
                               Element* derivative) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    const float z = to_float(value[i]);
    const float factor = z > 0.0F ? 1.0F : slope;
    value[i] = from_float<Element>(z * factor);
    derivative[i] = from_float<Element>(factor);
  }
}

template <typename Left, typename Element>
STANLEY_INLINE void multiply_pass(std::int64_t count, const Left* a, const Element* b,
                                  Element* out) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    out[i] = from_float<Element>(to_float(a[i]) * to_float(b[i]));
  }
}

template <typename Element>
STANLEY_INLINE float dot_pass(std::int64_t count, const Element* a, const float* b) {
  constexpr std::int64_t width = 64;
  float sums[width] = {};
  std::int64_t i = 0;
  for (; i + width <= count; i += width) {
    for (std::int64_t lane = 0; lane < width; ++lane) {
      sums[lane] += to_float(a[i + lane]) * b[i + lane];
    }
  }
  for (std::int64_t lane = 0; i < count; ++i, ++lane) {
    sums[lane] += to_float(a[i]) * b[i];
  }
  for (std::int64_t half = width / 2; half > 0; half /= 2) {
    for (std::int64_t lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  }
  return sums[0];
}

/// `group` pixels of a row from x on, of 16 filters.
template <std::int64_t group, typename Element>
STANLEY_INLINE void convolve_pixels(const ImageLayout& layout, std::int64_t channels,
                                    const float* state, const float* weight, const float* bias,
                                    Element* out) {
  const std::int64_t columns = layout.width + 2, plane = (layout.height + 2) * columns;
  Lanes sums[group];
#pragma GCC unroll 8
  for (std::int64_t g = 0; g < group; ++g) load(bias, sums[g]);
  for (std::int64_t channel = 0; channel < channels; ++channel, state += plane) {
#pragma GCC unroll 9
    for (std::int64_t tap = 0; tap < 9; ++tap, weight += layout.channels) {
      Lanes factors;
      load(weight, factors);
#pragma GCC unroll 8
      for (std::int64_t g = 0; g < group; ++g) {
        sums[g] += state[tap / 3 * columns + tap % 3 + g] * factors;
      }
    }
  }
#pragma GCC unroll 8
  for (std::int64_t g = 0; g < group; ++g) store(sums[g], out + g * layout.channels);
}

template <typename Element>
STANLEY_INLINE void convolve_first_pass(const ImageLayout& layout, std::int64_t channels,
                                        const float* state, const float* weight, const float* bias,
                                        Element* out) {
  constexpr std::int64_t group = 8;
  for (std::int64_t y = 0; y < layout.height; ++y) {
    const float* in = state + y * (layout.width + 2);
    Element* row = out + layout.row(y);
    for (std::int64_t filter = 0; filter < layout.channels; filter += lanes) {
      std::int64_t x = 0;
      for (; x + group <= layout.width; x += group) {
        convolve_pixels<group>(layout, channels, in + x, weight + filter, bias + filter,
                               row + x * layout.channels + filter);
      }
      for (; x < layout.width; ++x) {
        convolve_pixels<1>(layout, channels, in + x, weight + filter, bias + filter,
                           row + x * layout.channels + filter);
      }
    }
  }
}

template <typename Element>
STANLEY_INLINE void surround_row_pass(std::int64_t width, std::int64_t channels, const Element* row,
                                      float* out) {
  const std::int64_t columns = whole_lanes(width) + 2;
  for (std::int64_t channel = 0; channel < channels; channel += lanes) {
    for (std::int64_t x = 0; x < width; ++x) {
      Lanes value;
      load(row + x * channels + channel, value);
      store(value, out + channel * columns + (x + 1) * lanes);
    }
  }
}

/// Lane i of the result is the sum of `a`'s lanes i and i + distance where bit `distance` of i is
/// 0, and of b's lanes i - distance and i where it is 1.
template <int distance>
STANLEY_INLINE void fold(const Lanes& a, const Lanes& b, Lanes& sum) {
  IntegerLanes first, second;
  for (int i = 0; i < lanes; ++i) {
    const bool from_b = (i & distance) != 0;
    first[i] = from_b ? 16 + i - distance : i;
    second[i] = from_b ? 16 + i : i + distance;
  }
  sum = __builtin_shuffle(a, b, first) + __builtin_shuffle(a, b, second);
}

/// Folds the sums of pixels `distance` apart into one another.
template <int distance>
STANLEY_INLINE void fold_all(Lanes* sums) {
#pragma GCC unroll 8
  for (int i = 0; i < distance; ++i) fold<distance>(sums[i], sums[i + distance], sums[i]);
}

}  // namespace

STANLEY_VECTORIZED void activate_with_derivative(Activation activation, float slope,
                                                 std::int64_t count, float* value,
                                                 float* derivative) {
  if (activation == Activation::silu) return silu(count, value, derivative);
  leaky_relu(slope, count, value, derivative);
}
STANLEY_VECTORIZED void activate_with_derivative(Activation activation, float slope,
                                                 std::int64_t count, Bfloat16* value,
                                                 Bfloat16* derivative) {
  if (activation == Activation::silu) return silu(count, value, derivative);
  leaky_relu(slope, count, value, derivative);
}

STANLEY_VECTORIZED void multiply(std::int64_t count, const float* a, const float* b, float* out) {
  multiply_pass(count, a, b, out);
}
STANLEY_VECTORIZED void multiply(std::int64_t count, const float* a, const Bfloat16* b,
                                 Bfloat16* out) {
  multiply_pass(count, a, b, out);
}
STANLEY_VECTORIZED void multiply(std::int64_t count, const Bfloat16* a, const Bfloat16* b,
                                 Bfloat16* out) {
  multiply_pass(count, a, b, out);
}

STANLEY_VECTORIZED void add(std::int64_t count, const float* a, float* out) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) out[i] += a[i];
}

STANLEY_VECTORIZED void add_scaled(std::int64_t count, float factor, const float* a, float* out) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) out[i] += factor * a[i];
}

STANLEY_VECTORIZED void scale(std::int64_t count, float factor, float* out) {
  for (std::int64_t i = 0; i < count; ++i) out[i] *= factor;
}

STANLEY_VECTORIZED void add_pixels(std::int64_t pixels, std::int64_t channels, const float* a,
                                   float* sum) {
  for (std::int64_t channel = 0; channel < channels; channel += lanes) {
    Lanes total;
    load(sum + channel, total);
    for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
      Lanes value;
      load(a + pixel * channels + channel, value);
      total += value;
    }
    store(total, sum + channel);
  }
}

STANLEY_VECTORIZED void mean_of_squares(std::int64_t width, std::int64_t channels,
                                        const float* upper, const float* lower, float* out) {
  for (std::int64_t x = 0; x < width; ++x) {
    const std::int64_t left = 2 * x * channels, right = left + channels;
#pragma GCC ivdep
    for (std::int64_t i = 0; i < channels; ++i) {
      out[x * channels + i] =
          0.25F * ((upper[left + i] + upper[right + i]) + (lower[left + i] + lower[right + i]));
    }
  }
}

STANLEY_VECTORIZED void add_to_squares(std::int64_t width, std::int64_t channels, const float* row,
                                       float* upper, float* lower) {
  for (std::int64_t x = 0; x < width; ++x) {
    const std::int64_t left = 2 * x * channels, right = left + channels;
#pragma GCC ivdep
    for (std::int64_t i = 0; i < channels; ++i) {
      const float quarter = 0.25F * row[x * channels + i];
      upper[left + i] += quarter;
      upper[right + i] += quarter;
      lower[left + i] += quarter;
      lower[right + i] += quarter;
    }
  }
}

STANLEY_VECTORIZED float dot(std::int64_t count, const float* a, const float* b) {
  return dot_pass(count, a, b);
}
STANLEY_VECTORIZED float dot(std::int64_t count, const Bfloat16* a, const float* b) {
  return dot_pass(count, a, b);
}

/// Eight rows at a time share each row of b, so that enough additions are under way.
STANLEY_VECTORIZED void multiply_rows(std::int64_t rows, std::int64_t depth, std::int64_t columns,
                                      const float* a, const float* b, float* out) {
  constexpr std::int64_t group = 8;
  for (std::int64_t row = 0; row < rows; row += group) {
    // Rows past the end repeat the last one.
    std::int64_t at[group];
    for (std::int64_t g = 0; g < group; ++g) at[g] = std::min(row + g, rows - 1);
    for (std::int64_t column = 0; column < columns; column += lanes) {
      Lanes sums[group] = {};
      for (std::int64_t k = 0; k < depth; ++k) {
        Lanes b_row;
        load(b + k * columns + column, b_row);
#pragma GCC unroll 8
        for (std::int64_t g = 0; g < group; ++g) {
          sums[g] += a[at[g] * depth + k] * b_row;
        }
      }
#pragma GCC unroll 8
      for (std::int64_t g = 0; g < group; ++g) store(sums[g], out + at[g] * columns + column);
    }
  }
}

STANLEY_VECTORIZED void convolve_first(const ImageLayout& layout, std::int64_t channels,
                                       const float* state, const float* weight, const float* bias,
                                       float* out) {
  convolve_first_pass(layout, channels, state, weight, bias, out);
}
STANLEY_VECTORIZED void convolve_first(const ImageLayout& layout, std::int64_t channels,
                                       const float* state, const float* weight, const float* bias,
                                       Bfloat16* out) {
  convolve_first_pass(layout, channels, state, weight, bias, out);
}

STANLEY_VECTORIZED void first_gradient_row(std::int64_t width, std::int64_t channels,
                                           const float* const* rows, const float* weight,
                                           float* out) {
  const std::int64_t columns = whole_lanes(width) + 2;
  for (std::int64_t x = 0; x < width; x += lanes) {
    Lanes sums[lanes] = {};
    for (std::int64_t filter = 0; filter < channels; filter += lanes) {
#pragma GCC unroll 9
      for (std::int64_t tap = 0; tap < 9; ++tap) {
        Lanes factors;
        load(weight + tap * channels + filter, factors);
        const float* pixel = rows[2 - tap / 3] + filter * columns + (x + 2 - tap % 3) * lanes;
#pragma GCC unroll 16
        for (std::int64_t i = 0; i < lanes; ++i) {
          Lanes value;
          load(pixel + i * lanes, value);
          sums[i] += value * factors;
        }
      }
    }
    fold_all<8>(sums);
    fold_all<4>(sums);
    fold_all<2>(sums);
    fold_all<1>(sums);
    store(sums[0], out + x);
  }
}

STANLEY_VECTORIZED void surround_row(std::int64_t width, std::int64_t channels, const float* row,
                                     float* out) {
  surround_row_pass(width, channels, row, out);
}
STANLEY_VECTORIZED void surround_row(std::int64_t width, std::int64_t channels, const Bfloat16* row,
                                     float* out) {
  surround_row_pass(width, channels, row, out);
}

STANLEY_VECTORIZED void add_first_weights(const ImageLayout& layout, std::int64_t channels,
                                          const float* state, const float* image, float* sum) {
  const std::int64_t columns = layout.width + 2, plane = (layout.height + 2) * columns;
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    for (std::int64_t filter = 0; filter < layout.channels; filter += lanes) {
      float* target = sum + channel * 9 * layout.channels + filter;
      Lanes sums[9];
      for (int tap = 0; tap < 9; ++tap) load(target + tap * layout.channels, sums[tap]);
      for (std::int64_t y = 0; y < layout.height; ++y) {
        const float* in = state + channel * plane + y * columns;
        const float* gradient = image + layout.row(y) + filter;
        for (std::int64_t x = 0; x < layout.width; ++x) {
          Lanes pixel;
          load(gradient + x * layout.channels, pixel);
#pragma GCC unroll 9
          for (int tap = 0; tap < 9; ++tap)
            sums[tap] += in[tap / 3 * columns + x + tap % 3] * pixel;
        }
      }
      for (int tap = 0; tap < 9; ++tap) store(sums[tap], target + tap * layout.channels);
    }
  }
}

}  // namespace stanley
