#pragma once

#include <bit>
#include <cstdint>

#include "config/config.hpp"
#include "energy/image_layout.hpp"

namespace stanley {

/// A bfloat16 number: the upper half of a float.
struct Bfloat16 {
  std::uint16_t bits;
};

inline float to_float(float value) { return value; }
inline float to_float(Bfloat16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}

template <typename Element>
Element from_float(float value);
template <>
inline float from_float<float>(float value) {
  return value;
}
/// Rounds to nearest, ties to even; a NaN stays one.
template <>
inline Bfloat16 from_float<Bfloat16>(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = bits + 0x7fffU + ((bits >> 16) & 1U);
  return {static_cast<std::uint16_t>((value == value ? rounded : bits | 0x400000U) >> 16)};
}

/// In one pass over a convolution's output z: value <- f(z) and derivative <- f′(z), for f the
/// SiLU z·s(z) with s the logistic function, or the leaky ReLU of the given slope.
void activate_with_derivative(Activation activation, float slope, std::int64_t count, float* value,
                              float* derivative);
void activate_with_derivative(Activation activation, float slope, std::int64_t count,
                              Bfloat16* value, Bfloat16* derivative);

/// out <- a · b, elementwise.
void multiply(std::int64_t count, const float* a, const float* b, float* out);
void multiply(std::int64_t count, const Bfloat16* a, const Bfloat16* b, Bfloat16* out);

/// out <- out + a, elementwise.
void add(std::int64_t count, const float* a, float* out);

/// out <- out + factor · a, and out <- factor · out, elementwise.
void add_scaled(std::int64_t count, float factor, const float* a, float* out);
void scale(std::int64_t count, float factor, float* out);

/// Adds all pixels of a [pixels, channels] to sum [channels].
void add_pixels(std::int64_t pixels, std::int64_t channels, const float* a, float* sum);

/// The means over squares of 2×2 pixels of two rows [2·width, channels], to out [width, channels];
/// and its adjoint, which adds a quarter of `row` to each pixel. `channels` is a multiple of 16.
void mean_of_squares(std::int64_t width, std::int64_t channels, const float* upper,
                     const float* lower, float* out);
void add_to_squares(std::int64_t width, std::int64_t channels, const float* row, float* upper,
                    float* lower);

/// Sum of a·b over `count` elements, in an order fixed by `count` alone.
float dot(std::int64_t count, const float* a, const float* b);

/// A 3×3 convolution of stride 1 over the `channels` of a state [channels, height + 2, width + 2],
/// whose border is zero, to an image of the layout: weight [channel, y, x, layout.channels], bias
/// [layout.channels].
void convolve_first(const ImageLayout& layout, std::int64_t channels, const float* state,
                    const float* weight, const float* bias, float* out);

/// The adjoint of one state channel and row y of that: out [whole_lanes(width)] from the rows y -
/// 1, y and y + 1 of an image's gradient, as surround_row() makes them, and weight [y, x,
/// channels].
void first_gradient_row(std::int64_t width, std::int64_t channels, const float* const* rows,
                        const float* weight, float* out);

/// Copies an image's row [width, channels] to out [channels / 16, whole_lanes(width) + 2, 16], from
/// its second pixel on; what stands around it stays.
void surround_row(std::int64_t width, std::int64_t channels, const float* row, float* out);

/// Adds to sum [channel, y, x, layout.channels] the gradient of convolve_first()'s weight, from a
/// state and the gradient of its image.
void add_first_weights(const ImageLayout& layout, std::int64_t channels, const float* state,
                       const float* image, float* sum);

}  // namespace stanley
