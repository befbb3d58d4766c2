#pragma once

#include <cstdint>

#include "config/activation.hpp"
#include "kernels/bfloat16.hpp"
#include "kernels/kernel.hpp"

namespace stanley {

namespace plain {

/// In one pass over a convolution's output z: value <- f(z) and derivative <- f′(z), for f the
/// SiLU z·s(z) with s the logistic function, or the leaky ReLU of the given slope.
void activate_floats(Activation activation, float slope, std::int64_t count, float* value,
                     float* derivative);

/// out <- a · b, elementwise.
void multiply_floats(std::int64_t count, const float* a, const float* b, float* out);

/// out <- out + bias [channels], of [pixels, channels].
void add_bias(std::int64_t pixels, std::int64_t channels, const float* bias, float* out);

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

/// Between bfloat16 numbers and floats; to bfloat16 it rounds as from_float<Bfloat16>() does.
void widen(std::int64_t count, const Bfloat16* in, float* out);
void narrow(std::int64_t count, const float* in, Bfloat16* out);

/// Sum of a·b over `count` elements, in an order fixed by `count` alone.
float dot(std::int64_t count, const float* a, const float* b);

}  // namespace plain

STANLEY_KERNEL(activate_floats)
STANLEY_KERNEL(multiply_floats)
STANLEY_KERNEL(add_bias)
STANLEY_KERNEL(add)
STANLEY_KERNEL(add_scaled)
STANLEY_KERNEL(scale)
STANLEY_KERNEL(add_pixels)
STANLEY_KERNEL(mean_of_squares)
STANLEY_KERNEL(add_to_squares)
STANLEY_KERNEL(widen)
STANLEY_KERNEL(narrow)
STANLEY_KERNEL(dot)

}  // namespace stanley
