#include "kernels/elementwise.hpp"

#include <algorithm>

#include "kernels/vectors.hpp"
#include "kernels/vectors/activation.hpp"

namespace stanley::STANLEY_SET {
namespace {

template <int n>
STANLEY_INLINE void load(const float* from, LanesOf<n>& to) {
  to = *reinterpret_cast<const typename Vectors<n>::StoredLanes*>(from);
}
template <int n>
STANLEY_INLINE void load(const Bfloat16* from, LanesOf<n>& to) {
  for (int lane = 0; lane < n; ++lane) to[lane] = to_float(from[lane]);
}
template <int n>
STANLEY_INLINE void store(const LanesOf<n>& from, float* to) {
  *reinterpret_cast<typename Vectors<n>::StoredLanes*>(to) = from;
}
template <int n>
STANLEY_INLINE void store(const LanesOf<n>& from, Bfloat16* to) {
  for (int lane = 0; lane < n; ++lane) to[lane] = from_float<Bfloat16>(from[lane]);
}

template <int n, typename Element>
STANLEY_INLINE void silu_vector(Element* value, Element* derivative) {
  LanesOf<n> z, slope;
  load<n>(value, z);
  silu_with_derivative<n>(z, slope);
  store<n>(z, value);
  store<n>(slope, derivative);
}

/// Four registers go through the arithmetic together: each step waits for the one before it, and
/// the processor works on the others meanwhile.
template <typename Element>
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
  STANLEY_INDEPENDENT
  for (std::int64_t i = 0; i < count; ++i) {
    const float z = to_float(value[i]);
    const float factor = z > 0.0F ? 1.0F : slope;
    value[i] = from_float<Element>(z * factor);
    derivative[i] = from_float<Element>(factor);
  }
}

template <typename Element>
STANLEY_INLINE void activate(Activation activation, float slope, std::int64_t count, Element* value,
                             Element* derivative) {
  if (activation == Activation::silu) return silu(count, value, derivative);
  leaky_relu(slope, count, value, derivative);
}

template <typename Element>
STANLEY_INLINE void multiply(std::int64_t count, const Element* a, const Element* b, Element* out) {
  STANLEY_INDEPENDENT
  for (std::int64_t i = 0; i < count; ++i) {
    out[i] = from_float<Element>(to_float(a[i]) * to_float(b[i]));
  }
}

template <typename Element>
STANLEY_INLINE void add_bias(std::int64_t pixels, std::int64_t channels, const Element* z,
                             const float* bias, const Element* skip, Element* out) {
  for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
    const std::int64_t first = pixel * channels;
    if (skip == nullptr) {
      STANLEY_INDEPENDENT
      for (std::int64_t i = 0; i < channels; ++i) {
        out[first + i] = from_float<Element>(to_float(z[first + i]) + bias[i]);
      }
    } else {
      STANLEY_INDEPENDENT
      for (std::int64_t i = 0; i < channels; ++i) {
        out[first + i] =
            from_float<Element>(to_float(z[first + i]) + bias[i] + to_float(skip[first + i]));
      }
    }
  }
}

template <typename Element>
STANLEY_INLINE void multiply_add(std::int64_t count, const Element* a, const Element* b,
                                 float factor, const Element* c, Element* out) {
  STANLEY_INDEPENDENT
  for (std::int64_t i = 0; i < count; ++i) {
    out[i] = from_float<Element>(to_float(a[i]) * to_float(b[i]) + factor * to_float(c[i]));
  }
}

}  // namespace

void activate_floats(Activation activation, float slope, std::int64_t count, float* value,
                     float* derivative) {
  activate(activation, slope, count, value, derivative);
}
void activate_bfloat16(Activation activation, float slope, std::int64_t count, Bfloat16* value,
                       Bfloat16* derivative) {
  activate(activation, slope, count, value, derivative);
}

void multiply_floats(std::int64_t count, const float* a, const float* b, float* out) {
  multiply(count, a, b, out);
}
void multiply_bfloat16(std::int64_t count, const Bfloat16* a, const Bfloat16* b, Bfloat16* out) {
  multiply(count, a, b, out);
}

void add_bias_floats(std::int64_t pixels, std::int64_t channels, const float* z, const float* bias,
                     const float* skip, float* out) {
  add_bias(pixels, channels, z, bias, skip, out);
}
void add_bias_bfloat16(std::int64_t pixels, std::int64_t channels, const Bfloat16* z,
                       const float* bias, const Bfloat16* skip, Bfloat16* out) {
  add_bias(pixels, channels, z, bias, skip, out);
}

void multiply_add_floats(std::int64_t count, const float* a, const float* b, float factor,
                         const float* c, float* out) {
  multiply_add(count, a, b, factor, c, out);
}
void multiply_add_bfloat16(std::int64_t count, const Bfloat16* a, const Bfloat16* b, float factor,
                           const Bfloat16* c, Bfloat16* out) {
  multiply_add(count, a, b, factor, c, out);
}

void add(std::int64_t count, const float* a, float* out) {
  STANLEY_INDEPENDENT
  for (std::int64_t i = 0; i < count; ++i) out[i] += a[i];
}

void add_scaled(std::int64_t count, float factor, const float* a, float* out) {
  STANLEY_INDEPENDENT
  for (std::int64_t i = 0; i < count; ++i) out[i] += factor * a[i];
}

void scale(std::int64_t count, float factor, float* out) {
  for (std::int64_t i = 0; i < count; ++i) out[i] *= factor;
}

void add_pixels(std::int64_t pixels, std::int64_t channels, const float* a, float* sum) {
  for (std::int64_t channel = 0; channel < channels; channel += floats) {
    Lanes total = *at(sum + channel);
    for (std::int64_t pixel = 0; pixel < pixels; ++pixel)
      total += *at(a + pixel * channels + channel);
    *at(sum + channel) = total;
  }
}

void mean_of_squares(std::int64_t width, std::int64_t channels, const float* upper,
                     const float* lower, float* out) {
  for (std::int64_t x = 0; x < width; ++x) {
    const std::int64_t left = 2 * x * channels, right = left + channels;
    STANLEY_INDEPENDENT
    for (std::int64_t i = 0; i < channels; ++i) {
      out[x * channels + i] =
          0.25F * ((upper[left + i] + upper[right + i]) + (lower[left + i] + lower[right + i]));
    }
  }
}

void add_to_squares(std::int64_t width, std::int64_t channels, const float* row, float* upper,
                    float* lower) {
  for (std::int64_t x = 0; x < width; ++x) {
    const std::int64_t left = 2 * x * channels, right = left + channels;
    STANLEY_INDEPENDENT
    for (std::int64_t i = 0; i < channels; ++i) {
      const float quarter = 0.25F * row[x * channels + i];
      upper[left + i] += quarter;
      upper[right + i] += quarter;
      lower[left + i] += quarter;
      lower[right + i] += quarter;
    }
  }
}

float dot(std::int64_t count, const float* a, const float* b) {
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

}  // namespace stanley::STANLEY_SET
