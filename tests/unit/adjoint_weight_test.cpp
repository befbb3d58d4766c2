#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "engines/computed_layer.hpp"
#include "kernels/convolution_shape.hpp"

namespace stanley {
namespace {

at::Tensor numbers(std::vector<std::int64_t> shape, double step) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  const at::Tensor index = at::arange(count, at::kDouble);
  return at::sin(index * index * step).view(shape);
}

/// What a GPU's kernel adds up: for input pixels of each pair of remainders, taps from first_tap
/// on.
at::Tensor by_taps(const ConvolutionShape& shape, const at::Tensor& gradient,
                   const at::Tensor& weight) {
  at::Tensor out =
      at::zeros({shape.images, shape.height, shape.width, shape.channels}, at::kDouble);
  const std::int64_t taps = shape.kernel / shape.stride;
  for (std::int64_t y = 0; y < shape.height; ++y) {
    for (std::int64_t x = 0; x < shape.width; ++x) {
      const std::int64_t of_y = y % shape.stride, of_x = x % shape.stride;
      for (std::int64_t i = 0; i < taps * taps; ++i) {
        const std::int64_t from_y = y / shape.stride + shape.first_tap(of_y) + i / taps;
        const std::int64_t from_x = x / shape.stride + shape.first_tap(of_x) + i % taps;
        if (from_y < 0 || from_x < 0 || from_y >= shape.output_height() ||
            from_x >= shape.output_width()) {
          continue;
        }
        const at::Tensor filters = weight[of_y][of_x].select(1, i / taps).select(1, i % taps);
        out.select(1, y).select(1, x).add_(
            at::mm(gradient.select(1, from_y).select(1, from_x), filters.t()));
      }
    }
  }
  return out;
}

TEST(FusedConvolution, TheWayBackIsTheAdjoint) {
  for (const auto& [kernel, stride] : {std::pair<std::int64_t, std::int64_t>{3, 1}, {4, 2}}) {
    for (const auto& [height, width] :
         {std::pair<std::int64_t, std::int64_t>{2, 2}, {8, 5}, {7, 6}}) {
      const ConvolutionShape shape{.images = 2,
                                   .height = height,
                                   .width = width,
                                   .channels = 3,
                                   .filters = 5,
                                   .kernel = kernel,
                                   .stride = stride,
                                   .padding = 1};
      const at::Tensor filters = numbers({5, 3, kernel, kernel}, 0.37);
      const at::Tensor gradient =
          numbers({2, shape.output_height(), shape.output_width(), 5}, 0.23);
      const at::Tensor like = at::empty({2, 3, height, width}, at::kDouble);
      const std::int64_t strides[] = {stride, stride}, one[] = {1, 1}, zero[] = {0, 0};
      const at::Tensor expected = std::get<0>(at::convolution_backward(
          gradient.permute({0, 3, 1, 2}), like, filters, at::OptionalIntArrayRef(), strides, one,
          one, false, zero, 1, {true, false, false}));
      const at::Tensor found = by_taps(shape, gradient, adjoint_weight(filters, stride));
      EXPECT_LT((found.permute({0, 3, 1, 2}) - expected).abs().max().item<double>(), 1e-13);
    }
  }
}

}  // namespace
}  // namespace stanley
