#include "data/reduction.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstddef>

#include "config/error.hpp"

namespace stanley {
namespace {

/// Means over squares of `factor` × `factor` pixels of square planes with the side factor·size.
template <typename Pixel>
std::vector<float> means_over_squares(const std::vector<Pixel>& pixels, std::size_t size,
                                      std::size_t factor) {
  const std::size_t side = factor * size, planes = pixels.size() / (side * side);
  std::vector<float> means(planes * size * size);
  std::vector<double> sums(size);  // of a row of squares
  for (std::size_t row = 0; row < planes * size; ++row) {
    sums.assign(size, 0);
    const Pixel* const first = pixels.data() + row * factor * side;
    for (std::size_t i = 0; i < factor * side; ++i) {
      sums[i % side / factor] += static_cast<double>(first[i]);
    }
    for (std::size_t column = 0; column < size; ++column) {
      means[row * size + column] =
          static_cast<float>(sums[column] / static_cast<double>(factor * factor));
    }
  }
  return means;
}

}  // namespace

std::vector<std::int64_t> reduced_shape(const DataConfig& config,
                                        const std::vector<std::int64_t>& shape) {
  if (!config.size) return shape;
  const std::int64_t size = *config.size;
  if (shape.size() != 3 || shape[1] != shape[2]) {
    throw Error(ExitCode::configuration,
                fmt::format("data.size {} reduces square images, and {} has states of {}: leave it "
                            "out, or make the images square (tools/convert_images.py --pad)",
                            size, config.path, fmt::join(shape, "×")));
  }
  if (shape[1] % size != 0) {
    throw Error(ExitCode::configuration,
                fmt::format("data.size {} must divide the side of the images of {}, which is {}",
                            size, config.path, shape[1]));
  }
  return {shape[0], size, size};
}

bool reduce_images(const DataConfig& config, std::vector<std::int64_t>& extents,
                   std::vector<std::uint8_t>& images, std::vector<float>& floats) {
  const std::vector<std::int64_t> shape =
      reduced_shape(config, {extents.begin() + 1, extents.end()});
  if (!config.size || shape.back() == extents.back()) return false;
  const auto size = static_cast<std::size_t>(shape.back());
  const auto factor = static_cast<std::size_t>(extents.back()) / size;
  floats = floats.empty() ? means_over_squares(images, size, factor)
                          : means_over_squares(floats, size, factor);
  images.clear();
  extents = {extents[0], shape[0], shape[1], shape[2]};
  return true;
}

}  // namespace stanley
