#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "evaluation/feature_input.hpp"

namespace stanley {

/// Images [n, channels, height, width] of another height and width, by one of the rules of Resize.
at::Tensor resized(const at::Tensor& images, std::int64_t height, std::int64_t width, Resize rule);

}  // namespace stanley
