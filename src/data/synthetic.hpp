#pragma once

#include <cstdint>

#include "config/config.hpp"

namespace stanley {

/// Sample `index` of a two-dimensional distribution that is easy to look at, with all but a few
/// samples in [−1, 1]²: eight Gaussians on a circle (σ = 0.04), a pinwheel of five arms, the dark
/// squares of a 4×4 checkerboard, three concentric rings of equal density (radii 0.3, 0.6, 0.9,
/// σ = 0.03). A function of (type, seed, index) alone.
void synthetic_sample(DataType type, std::uint32_t seed, std::int64_t index, float* out);

}  // namespace stanley
