#include "kernels/elementwise.hpp"

#include <algorithm>

#include "kernels/vectors.hpp"
#include "kernels/vectors/activation.hpp"

namespace stanley::STANLEY_SET {
namespace {

template <int n>
STANLEY_INLINE void silu_vector(float* value, float* derivative) {
  using Stored = typename Vectors<n>::StoredLanes;
  LanesOf<n> z = *reinterpret_cast<const Stored*>(value), slope;
  silu_with_derivative<n>(z, slope);
  *reinterpret_cast<Stored*>(value) = z;
  *reinterpret_cast<Stored*>(derivative) = slope;
}

/// Four registers go through the arithmetic together: each step waits for the one before it, and
/// the processor works on the others meanwhile.
STANLEY_INLINE void silu(std::int64_t count, float* value, float* derivative) {
  constexpr int size = 4 * floats;
  std::int64_t i = 0;
  for (; i + size <= count; i += size) silu_vector<size>(value + i, derivative + i);
  if (i == count) return;
  float rest[size] = {}, slopes[size];
  std::copy_n(value + i, count - i, rest);
  silu_vector<size>(rest, slopes);
  std::copy_n(rest, count - i, value + i);
  std::copy_n(slopes, count - i, derivative + i);
}

STANLEY_INLINE void leaky_relu(float slope, std::int64_t count, float* value, float* derivative) {
  STANLEY_INDEPENDENT
  for (std::int64_t i = 0; i < count; ++i) {
    const float z = value[i];
    const float factor = z > 0.0F ? 1.0F : slope;
    value[i] = z * factor;
    derivative[i] = factor;
  }
}

typedef std::uint32_t Bits __attribute__((may_alias));

}  // namespace

void activate_floats(Activation activation, float slope, std::int64_t count, float* value,
                     float* derivative) {
  if (activation == Activation::silu) return silu(count, value, derivative);
  leaky_relu(slope, count, value, derivative);
}

void multiply_floats(std::int64_t count, const float* a, const float* b, float* out) {
  STANLEY_INDEPENDENT
  for (std::int64_t i = 0; i < count; ++i) out[i] = a[i] * b[i];
}

void add_bias(std::int64_t pixels, std::int64_t channels, const float* bias, float* out) {
  for (std::int64_t pixel = 0; pixel < pixels; ++pixel, out += channels) {
    STANLEY_INDEPENDENT
    for (std::int64_t i = 0; i < channels; ++i) out[i] += bias[i];
  }
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

void widen(std::int64_t count, const Bfloat16* in, float* out) {
  auto* const bits = reinterpret_cast<Bits*>(out);
  STANLEY_INDEPENDENT
  for (std::int64_t i = 0; i < count; ++i) bits[i] = static_cast<Bits>(in[i].bits) << 16;
}

void narrow(std::int64_t count, const float* in, Bfloat16* out) {
  const auto* const bits = reinterpret_cast<const Bits*>(in);
  STANLEY_INDEPENDENT
  for (std::int64_t i = 0; i < count; ++i) {
    const Bits rounded = bits[i] + 0x7fff + ((bits[i] >> 16) & 1);
    out[i].bits = static_cast<std::uint16_t>((in[i] == in[i] ? rounded : bits[i] | 0x400000) >> 16);
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
