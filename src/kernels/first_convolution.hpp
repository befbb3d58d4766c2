#pragma once

#include <cstdint>

#include "kernels/image_layout.hpp"
#include "kernels/kernel.hpp"

/// The first convolution of a network of images, whose few input channels fill no vector.
namespace stanley {

namespace plain {

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

}  // namespace plain

STANLEY_KERNEL(convolve_first)
STANLEY_KERNEL(first_gradient_row)
STANLEY_KERNEL(surround_row)
STANLEY_KERNEL(add_first_weights)

}  // namespace stanley
