#include "chains/upsample.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

namespace stanley {
namespace {

/// The other of the two pixels that pixel `i` of twice as many lies between; i / 2 is the nearer.
std::int64_t further(std::int64_t i, std::int64_t count) {
  return std::clamp<std::int64_t>(i % 2 == 0 ? i / 2 - 1 : i / 2 + 1, 0, count - 1);
}

void upsample_plane(const float* in, std::int64_t height, std::int64_t width, float* out) {
  std::vector<float> row(static_cast<std::size_t>(width));  // between two rows of the image
  for (std::int64_t y = 0; y < 2 * height; ++y) {
    const float *near = in + y / 2 * width, *far = in + further(y, height) * width;
    for (std::int64_t x = 0; x < width; ++x) {
      row[static_cast<std::size_t>(x)] = 0.75F * near[x] + 0.25F * far[x];
    }
    for (std::int64_t x = 0; x < 2 * width; ++x) {
      out[y * 2 * width + x] = 0.75F * row[static_cast<std::size_t>(x / 2)] +
                               0.25F * row[static_cast<std::size_t>(further(x, width))];
    }
  }
}

}  // namespace

at::Tensor upsample_twice(const at::Tensor& images) {
  const at::Tensor source = images.contiguous();
  std::vector<std::int64_t> shape = source.sizes().vec();
  const std::int64_t height = shape[shape.size() - 2], width = shape.back();
  shape[shape.size() - 2] = 2 * height;
  shape.back() = 2 * width;
  at::Tensor large = at::empty(shape, at::kFloat);
  const std::int64_t planes = source.numel() / (height * width);
  for (std::int64_t i = 0; i < planes; ++i) {
    upsample_plane(source.const_data_ptr<float>() + i * height * width, height, width,
                   large.mutable_data_ptr<float>() + 4 * i * height * width);
  }
  return large;
}

}  // namespace stanley
