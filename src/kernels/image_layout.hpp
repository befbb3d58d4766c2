#pragma once

#include <cstdint>

namespace stanley {

/// What an image's channels are filled up to a multiple of: whole vectors of any length.
constexpr std::int64_t lanes = 16;

/// `count` rounded up to whole vectors.
constexpr std::int64_t whole_lanes(std::int64_t count) {
  return (count + lanes - 1) / lanes * lanes;
}

/// Where the pixels of an image stand in memory: [rows, columns, channels], of which the image has
/// height x width, from (border, border) on. What surrounds it is zero and stays so, which spares
/// convolutions their boundary cases.
struct ImageLayout {
  std::int64_t height, width;
  std::int64_t channels;  ///< a multiple of `lanes`; those that the network lacks are zero
  std::int64_t border = 0;
  std::int64_t rows = height, columns = width;

  /// Elements of one image with its surroundings.
  std::int64_t size() const { return rows * columns * channels; }
  /// Where the image's row y starts.
  std::int64_t row(std::int64_t y) const { return ((y + border) * columns + border) * channels; }
  /// Elements of a row of the image.
  std::int64_t row_size() const { return width * channels; }
};

}  // namespace stanley
