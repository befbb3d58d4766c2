#include "energy/elementwise.hpp"

#include <algorithm>
#include <cmath>

// Each kernel is compiled for three instruction sets, the widest one that the processor has is
// taken at run time. Multiply-adds are written out, so that all of them give the same bits.
#define STANLEY_VECTORIZED \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("O3")))
#define STANLEY_INLINE inline __attribute__((always_inline))

namespace stanley {
namespace {

/// exp(x) to about one unit in the last place: x = n·ln 2 + r, a polynomial in r, times 2ⁿ.
STANLEY_INLINE float exponential(float x) {
  x = std::min(std::max(x, -87.0F), 87.0F);
  constexpr float round = 12582912.0F;  // 1.5·2²³: adding it rounds to an integer
  const float n = (x * 1.44269504F + round) - round;
  float r = std::fma(n, -0.693359375F, x);
  r = std::fma(n, 2.12194440e-4F, r);
  float p = 1.9875691500e-4F;
  p = std::fma(p, r, 1.3981999507e-3F);
  p = std::fma(p, r, 8.3334519073e-3F);
  p = std::fma(p, r, 4.1665795894e-2F);
  p = std::fma(p, r, 1.6666665459e-1F);
  p = std::fma(p, r, 5.0000001201e-1F);
  const float q = std::fma(p * r, r, r) + 1.0F;
  const auto exponent = static_cast<std::uint32_t>(static_cast<std::int32_t>(n) + 127) << 23;
  return q * std::bit_cast<float>(exponent);
}

template <typename Element>
STANLEY_INLINE void silu(std::int64_t count, Element* value, Element* derivative) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    const float z = to_float(value[i]);
    const float s = 1.0F / (1.0F + exponential(-z));
    const float y = z * s;
    value[i] = from_float<Element>(y);
    derivative[i] = from_float<Element>(std::fma(y, 1.0F - s, s));
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

template <typename Element>
STANLEY_INLINE void multiply_pass(std::int64_t count, const Element* derivative,
                                  Element* gradient) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    gradient[i] = from_float<Element>(to_float(gradient[i]) * to_float(derivative[i]));
  }
}

template <typename Element>
STANLEY_INLINE float dot_pass(std::int64_t count, const Element* a, const float* b) {
  constexpr std::int64_t lanes = 64;
  float sums[lanes] = {};
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    for (std::int64_t lane = 0; lane < lanes; ++lane) {
      sums[lane] = std::fma(to_float(a[i + lane]), b[i + lane], sums[lane]);
    }
  }
  for (std::int64_t lane = 0; i < count; ++i, ++lane) {
    sums[lane] = std::fma(to_float(a[i]), b[i], sums[lane]);
  }
  for (std::int64_t half = lanes / 2; half > 0; half /= 2) {
    for (std::int64_t lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  }
  return sums[0];
}

/// Sixteen floats; the compiler splits it where registers are narrower.
typedef float Lanes __attribute__((vector_size(64), aligned(4), may_alias));

/// Eight rows at a time share each row of b, so that enough additions are under way. Products are
/// rounded before they are added: vector types have no portable fused operation.
template <typename Element>
STANLEY_INLINE void multiply_rows_pass(std::int64_t rows, std::int64_t depth, std::int64_t columns,
                                       const Element* a, const float* b, float* out) {
  constexpr std::int64_t lanes = 16, group = 8;
  for (std::int64_t row = 0; row < rows; row += group) {
    const std::int64_t height = std::min(group, rows - row);
    for (std::int64_t column = 0; column < columns; column += lanes) {
      Lanes sums[group] = {};
      for (std::int64_t k = 0; k < depth; ++k) {
        const Lanes b_row = *reinterpret_cast<const Lanes*>(b + k * columns + column);
#pragma GCC unroll 8
        for (std::int64_t g = 0; g < group; ++g) {
          // Rows past the end repeat the last one; their sums are dropped.
          const std::int64_t at = (row + std::min(g, height - 1)) * depth + k;
          sums[g] += to_float(a[at]) * b_row;
        }
      }
      for (std::int64_t g = 0; g < height; ++g) {
        *reinterpret_cast<Lanes*>(out + (row + g) * columns + column) = sums[g];
      }
    }
  }
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

STANLEY_VECTORIZED void multiply(std::int64_t count, const float* derivative, float* gradient) {
  multiply_pass(count, derivative, gradient);
}
STANLEY_VECTORIZED void multiply(std::int64_t count, const Bfloat16* derivative,
                                 Bfloat16* gradient) {
  multiply_pass(count, derivative, gradient);
}

STANLEY_VECTORIZED float dot(std::int64_t count, const float* a, const float* b) {
  return dot_pass(count, a, b);
}
STANLEY_VECTORIZED float dot(std::int64_t count, const Bfloat16* a, const float* b) {
  return dot_pass(count, a, b);
}

STANLEY_VECTORIZED void multiply_rows(std::int64_t rows, std::int64_t depth, std::int64_t columns,
                                      const float* a, const float* b, float* out) {
  multiply_rows_pass(rows, depth, columns, a, b, out);
}
STANLEY_VECTORIZED void multiply_rows(std::int64_t rows, std::int64_t depth, std::int64_t columns,
                                      const Bfloat16* a, const float* b, float* out) {
  multiply_rows_pass(rows, depth, columns, a, b, out);
}

}  // namespace stanley
