#include "evaluation/resize.hpp"

#include <ATen/ATen.h>

#include <vector>

namespace stanley {
namespace {

/// Along one dimension as TensorFlow 1's ResizeBilinear: corners begin at the same place, and pixel
/// i lies at i·(old size)/(new size), in float32.
at::Tensor resized_tensorflow1(const at::Tensor& images, std::int64_t dimension,
                               std::int64_t size) {
  const std::int64_t before = images.size(dimension);
  const auto scale = static_cast<float>(static_cast<double>(before) / static_cast<double>(size));
  const at::Tensor place = at::arange(size, at::kFloat) * scale;
  const at::Tensor low = place.to(at::kLong);
  const at::Tensor high = (low + 1).clamp_max(before - 1);
  std::vector<std::int64_t> along(static_cast<std::size_t>(images.dim()), 1);
  along[static_cast<std::size_t>(dimension)] = size;
  const at::Tensor share = (place - low.to(at::kFloat)).view(along);
  const at::Tensor first = images.index_select(dimension, low);
  return first + (images.index_select(dimension, high) - first) * share;
}

}  // namespace

at::Tensor resized(const at::Tensor& images, std::int64_t height, std::int64_t width, Resize rule) {
  switch (rule) {
    case Resize::bilinear:
      return at::upsample_bilinear2d(images, {height, width}, /*align_corners=*/false);
    case Resize::bilinear_antialias:
      return at::_upsample_bilinear2d_aa(images, {height, width}, /*align_corners=*/false);
    case Resize::bicubic_antialias:
      return at::_upsample_bicubic2d_aa(images, {height, width}, /*align_corners=*/false);
    case Resize::bilinear_tensorflow1:
      break;
  }
  return resized_tensorflow1(resized_tensorflow1(images, 3, width), 2, height);
}

}  // namespace stanley
