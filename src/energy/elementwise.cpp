#include "energy/elementwise.hpp"

#include <algorithm>
#include <cmath>

#include "energy/activation_vector.hpp"
#include "energy/vectorized.hpp"

namespace stanley {
namespace {

template <int floats>
STANLEY_INLINE void load(const float* from, Lanes<floats>& to) {
  to = *reinterpret_cast<const Lanes<floats>*>(from);
}
template <int floats>
STANLEY_INLINE void load(const Bfloat16* from, Lanes<floats>& to) {
  for (int lane = 0; lane < floats; ++lane) to[lane] = to_float(from[lane]);
}
template <int floats>
STANLEY_INLINE void store(const Lanes<floats>& from, float* to) {
  *reinterpret_cast<Lanes<floats>*>(to) = from;
}
template <int floats>
STANLEY_INLINE void store(const Lanes<floats>& from, Bfloat16* to) {
  for (int lane = 0; lane < floats; ++lane) to[lane] = from_float<Bfloat16>(from[lane]);
}

template <int floats, typename Element>
STANLEY_INLINE void silu_vector(Element* value, Element* derivative) {
  Lanes<floats> z, slope;
  load<floats>(value, z);
  silu_with_derivative<floats>(z, slope);
  store<floats>(z, value);
  store<floats>(slope, derivative);
}

/// Four registers go through the arithmetic together: each step waits for the one before it, and
/// the processor works on the others meanwhile.
template <int floats, typename Element>
STANLEY_INLINE void silu(std::int64_t count, Element* value, Element* derivative) {
  constexpr int size = 4 * floats;
  std::int64_t i = 0;
  for (; i + size <= count; i += size) silu_vector<size>(value + i, derivative + i);
  if (i == count) return;
  Element rest[size] = {}, slopes[size];
  std::copy_n(value + i, count - i, rest);
  silu_vector<size>(rest, slopes);
  std::copy_n(rest, count - i, value + i);
  std::copy_n(slopes, count - i, derivative + i);
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

template <typename Element>
void activate_pass(Activation activation, float slope, std::int64_t count, Element* value,
                   Element* derivative) {
  with_vectors([&](auto floats) STANLEY_ALWAYS_INLINE {
    if (activation == Activation::silu) return silu<floats()>(count, value, derivative);
    leaky_relu(slope, count, value, derivative);
  });
}

template <typename Element>
STANLEY_INLINE void multiply_pass(std::int64_t count, const Element* a, const Element* b,
                                  Element* out) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    out[i] = from_float<Element>(to_float(a[i]) * to_float(b[i]));
  }
}

/// `group` pixels of a row from x on, of a vector of filters.
template <int floats, std::int64_t group>
STANLEY_INLINE void convolve_pixels(const ImageLayout& layout, std::int64_t channels,
                                    const float* state, const float* weight, const float* bias,
                                    float* out) {
  const std::int64_t columns = layout.width + 2, plane = (layout.height + 2) * columns;
  Lanes<floats> sums[group];
#pragma GCC unroll 8
  for (std::int64_t g = 0; g < group; ++g) load<floats>(bias, sums[g]);
  for (std::int64_t channel = 0; channel < channels; ++channel, state += plane) {
#pragma GCC unroll 9
    for (std::int64_t tap = 0; tap < 9; ++tap, weight += layout.channels) {
      Lanes<floats> factors;
      load<floats>(weight, factors);
#pragma GCC unroll 8
      for (std::int64_t g = 0; g < group; ++g) {
        sums[g] += state[tap / 3 * columns + tap % 3 + g] * factors;
      }
    }
  }
#pragma GCC unroll 8
  for (std::int64_t g = 0; g < group; ++g) store<floats>(sums[g], out + g * layout.channels);
}

template <int floats>
STANLEY_INLINE void convolve_first_pass(const ImageLayout& layout, std::int64_t channels,
                                        const float* state, const float* weight, const float* bias,
                                        float* out) {
  constexpr std::int64_t group = 8;
  for (std::int64_t y = 0; y < layout.height; ++y) {
    const float* in = state + y * (layout.width + 2);
    float* row = out + layout.row(y);
    for (std::int64_t filter = 0; filter < layout.channels; filter += floats) {
      std::int64_t x = 0;
      for (; x + group <= layout.width; x += group) {
        convolve_pixels<floats, group>(layout, channels, in + x, weight + filter, bias + filter,
                                       row + x * layout.channels + filter);
      }
      for (; x < layout.width; ++x) {
        convolve_pixels<floats, 1>(layout, channels, in + x, weight + filter, bias + filter,
                                   row + x * layout.channels + filter);
      }
    }
  }
}

template <int floats>
STANLEY_INLINE void surround_row_pass(std::int64_t width, std::int64_t channels, const float* row,
                                      float* out) {
  const std::int64_t columns = whole_lanes(width) + 2;
  for (std::int64_t channel = 0; channel < channels; channel += floats) {
    float* target = out + channel / lanes * lanes * columns + channel % lanes;
    for (std::int64_t x = 0; x < width; ++x) {
      Lanes<floats> value;
      load<floats>(row + x * channels + channel, value);
      store<floats>(value, target + (x + 1) * lanes);
    }
  }
}

/// Lane i of the result is the sum of `a`'s lanes i and i + distance where bit `distance` of i is
/// 0, and of b's lanes i - distance and i where it is 1.
template <int floats, int distance>
STANLEY_INLINE void fold(const Lanes<floats>& a, const Lanes<floats>& b, Lanes<floats>& sum) {
  typename Vectors<floats>::Integers first, second;
  for (int i = 0; i < floats; ++i) {
    const bool from_b = (i & distance) != 0;
    first[i] = from_b ? floats + i - distance : i;
    second[i] = from_b ? floats + i : i + distance;
  }
  sum = __builtin_shuffle(a, b, first) + __builtin_shuffle(a, b, second);
}

/// The sums of as many vectors as they have lanes, one in each lane of the first: folds those of
/// pixels `distance` apart into one another, and half as far apart.
template <int floats, int distance = floats / 2>
STANLEY_INLINE void fold_all(Lanes<floats>* sums) {
#pragma GCC unroll 8
  for (int i = 0; i < distance; ++i) {
    fold<floats, distance>(sums[i], sums[i + distance], sums[i]);
  }
  if constexpr (distance > 1) fold_all<floats, distance / 2>(sums);
}

template <int floats>
STANLEY_INLINE void first_gradient_row_pass(std::int64_t width, std::int64_t channels,
                                            const float* const* rows, const float* weight,
                                            float* out) {
  const std::int64_t columns = whole_lanes(width) + 2;
  for (std::int64_t x = 0; x < width; x += floats) {
    Lanes<floats> sums[floats] = {};
    for (std::int64_t filter = 0; filter < channels; filter += floats) {
      const std::int64_t at = filter / lanes * lanes * columns + filter % lanes;
#pragma GCC unroll 9
      for (std::int64_t tap = 0; tap < 9; ++tap) {
        Lanes<floats> factors;
        load<floats>(weight + tap * channels + filter, factors);
        const float* pixel = rows[2 - tap / 3] + at + (x + 2 - tap % 3) * lanes;
#pragma GCC unroll 16
        for (std::int64_t i = 0; i < floats; ++i) {
          Lanes<floats> value;
          load<floats>(pixel + i * lanes, value);
          sums[i] += value * factors;
        }
      }
    }
    fold_all<floats>(sums);
    store<floats>(sums[0], out + x);
  }
}

template <int floats>
STANLEY_INLINE void add_first_weights_pass(const ImageLayout& layout, std::int64_t channels,
                                           const float* state, const float* image, float* sum) {
  const std::int64_t columns = layout.width + 2, plane = (layout.height + 2) * columns;
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    for (std::int64_t filter = 0; filter < layout.channels; filter += floats) {
      float* target = sum + channel * 9 * layout.channels + filter;
      Lanes<floats> sums[9];
      for (int tap = 0; tap < 9; ++tap) load<floats>(target + tap * layout.channels, sums[tap]);
      for (std::int64_t y = 0; y < layout.height; ++y) {
        const float* in = state + channel * plane + y * columns;
        const float* gradient = image + layout.row(y) + filter;
        for (std::int64_t x = 0; x < layout.width; ++x) {
          Lanes<floats> pixel;
          load<floats>(gradient + x * layout.channels, pixel);
#pragma GCC unroll 9
          for (int tap = 0; tap < 9; ++tap) {
            sums[tap] += in[tap / 3 * columns + x + tap % 3] * pixel;
          }
        }
      }
      for (int tap = 0; tap < 9; ++tap) store<floats>(sums[tap], target + tap * layout.channels);
    }
  }
}

}  // namespace

void activate_with_derivative(Activation activation, float slope, std::int64_t count, float* value,
                              float* derivative) {
  activate_pass(activation, slope, count, value, derivative);
}
void activate_with_derivative(Activation activation, float slope, std::int64_t count,
                              Bfloat16* value, Bfloat16* derivative) {
  activate_pass(activation, slope, count, value, derivative);
}

STANLEY_VECTORIZED void multiply(std::int64_t count, const float* a, const float* b, float* out) {
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

void add_pixels(std::int64_t pixels, std::int64_t channels, const float* a, float* sum) {
  with_vectors([&](auto floats) STANLEY_ALWAYS_INLINE {
    for (std::int64_t channel = 0; channel < channels; channel += floats) {
      Lanes<floats()> total;
      load<floats()>(sum + channel, total);
      for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
        Lanes<floats()> value;
        load<floats()>(a + pixel * channels + channel, value);
        total += value;
      }
      store<floats()>(total, sum + channel);
    }
  });
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
  constexpr std::int64_t width = 64;
  float sums[width] = {};
  std::int64_t i = 0;
  for (; i + width <= count; i += width) {
    for (std::int64_t lane = 0; lane < width; ++lane) {
      sums[lane] += a[i + lane] * b[i + lane];
    }
  }
  for (std::int64_t lane = 0; i < count; ++i, ++lane) {
    sums[lane] += a[i] * b[i];
  }
  for (std::int64_t half = width / 2; half > 0; half /= 2) {
    for (std::int64_t lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  }
  return sums[0];
}

void convolve_first(const ImageLayout& layout, std::int64_t channels, const float* state,
                    const float* weight, const float* bias, float* out) {
  with_vectors([&](auto floats) STANLEY_ALWAYS_INLINE {
    convolve_first_pass<floats()>(layout, channels, state, weight, bias, out);
  });
}

void first_gradient_row(std::int64_t width, std::int64_t channels, const float* const* rows,
                        const float* weight, float* out) {
  with_vectors([&](auto floats) STANLEY_ALWAYS_INLINE {
    first_gradient_row_pass<floats()>(width, channels, rows, weight, out);
  });
}

void surround_row(std::int64_t width, std::int64_t channels, const float* row, float* out) {
  with_vectors([&](auto floats) STANLEY_ALWAYS_INLINE {
    surround_row_pass<floats()>(width, channels, row, out);
  });
}

void add_first_weights(const ImageLayout& layout, std::int64_t channels, const float* state,
                       const float* image, float* sum) {
  with_vectors([&](auto floats) STANLEY_ALWAYS_INLINE {
    add_first_weights_pass<floats()>(layout, channels, state, image, sum);
  });
}

}  // namespace stanley
