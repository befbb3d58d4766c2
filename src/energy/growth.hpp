#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "energy/plan.hpp"

namespace stanley {

// Growth of a convnet by one level, to images of twice the side, that keeps what it computes
// (Net2Net: Chen, Goodfellow and Shlens, arXiv 1511.05641): E of an image becomes what E was of the
// means over its squares of 2×2 pixels. A pair of filters with the signs + and − passes a pixel
// through the activation: f(z) − f(−z) is z for SiLU and (1 + slope)·z for the leaky ReLU.

/// The fewest channels of a convnet that can be grown to, for so many channels of the image: a pair
/// for each shift that the next layer must read. Where that one has stride 2 these are the four
/// diagonal ones, with means over 2×2 all nine, since its 3×3 pixels end at the image's edge.
std::int64_t channels_to_grow(Downsampling downsampling, std::int64_t image_channels);

/// The weights of the network `above` (its own, freshly initialised ones, and in their place those
/// that it takes over) under which it computes what `below` does with its weights on the means over
/// 2×2 pixels, up to rounding, also at the edges. Filters of the first layer that no pair needs
/// stay as they are, and the second one doesn't read them yet. Both lists are as in
/// Network::parameter_values(), on the CPU. `above` must have channels_to_grow(), one level and
/// half the channels more, and twice the side.
std::vector<at::Tensor> grow(const Plan& below, const std::vector<at::Tensor>& weights,
                             const Plan& above, const std::vector<at::Tensor>& fresh);

}  // namespace stanley
