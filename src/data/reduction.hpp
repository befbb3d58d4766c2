#pragma once

#include <cstdint>
#include <vector>

#include "config/config.hpp"

namespace stanley {

/// The shape {channel, height, width} of images of the file's shape once `data.size` reduced them;
/// of any shape the same where it is not set. Errors: configuration, where the images are not
/// square, or the size doesn't divide their side.
std::vector<std::int64_t> reduced_shape(const DataConfig& config,
                                        const std::vector<std::int64_t>& shape);

/// Reduces the images of a file, extents {sample, channel, height, width}, as `data.size` says: to
/// the means over squares of pixels, in `floats`; only one of `images` and `floats` has values, and
/// `images` has none after it. Returns whether there was anything to reduce. Errors: as
/// reduced_shape().
bool reduce_images(const DataConfig& config, std::vector<std::int64_t>& extents,
                   std::vector<std::uint8_t>& images, std::vector<float>& floats);

}  // namespace stanley
