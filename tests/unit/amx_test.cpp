#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "engines/amx/convolution.hpp"
#include "engines/amx/filter_gradient.hpp"
#include "kernels/amx_elementwise.hpp"
#include "unit/instruction_sets.hpp"

namespace stanley {
namespace {

constexpr double u32 = 0x1p-24, u16 = 0x1p-8;  // a rounding to float, to bfloat16

float number(std::int64_t i) { return static_cast<float>((i * 7919) % 1009) / 504.5F - 1.0F; }

std::vector<Bfloat16> bfloat16s(std::int64_t count, std::int64_t from) {
  std::vector<Bfloat16> result;
  for (std::int64_t i = 0; i < count; ++i) result.push_back(from_float<Bfloat16>(number(i + from)));
  return result;
}

/// What AmxProduct says, in double precision, and the sum of the terms' sizes.
std::pair<double, double> expected_sum(const AmxProduct& product, int pixel, int tile,
                                       std::int64_t filter, std::int64_t image) {
  double sum = 0;
  if (product.start != nullptr) {
    sum = static_cast<double>(product.start[pixel * product.start_step + tile * tile_sums +
                                            filter * tile_images + image]);
  }
  double size = std::abs(sum);
  for (std::int64_t k = 0; k < product.rows * product.blocks * tile_depth; ++k) {
    const std::int64_t block = k / tile_depth, depth = k % tile_depth;
    const Bfloat16 a =
        product
            .weight[tile * product.weight_step + block * tile_size + filter * tile_depth + depth];
    const Bfloat16 b =
        product.source[block / product.blocks][pixel * product.pixel_step +
                                               block % product.blocks * tile_size +
                                               (depth / 2 * tile_images + image) * 2 + depth % 2];
    const double term = static_cast<double>(to_float(a)) * static_cast<double>(to_float(b));
    sum += term;
    size += std::abs(term);
  }
  return {sum, size};
}

class Tile : public EachInstructionSet {};
WITH_EACH_INSTRUCTION_SET(Tile);

TEST_P(Tile, ProductsAreExactButForRounding) {
  const std::vector<Bfloat16> weight = bfloat16s(2 * 12 * tile_size, 5),
                              source = bfloat16s(9 * 4 * tile_size, 77);
  std::vector<float> start(4 * tile_sums), sums(4 * tile_sums);
  for (std::size_t i = 0; i < start.size(); ++i) start[i] = number(static_cast<std::int64_t>(i));
  const AmxTiles tiles;
  for (int shape = 0; shape < 4 * 4 * 3; ++shape) {
    const int filter_tiles = 1 + shape % 2, pixels = 1 + shape / 2 % 2;
    AmxProduct product{.filter_tiles = filter_tiles,
                       .pixels = pixels,
                       .rows = 1 + shape / 4 % 4,
                       .blocks = 1 + shape % 3,
                       .weight = weight.data(),
                       .weight_step = 12 * tile_size,
                       .pixel_step = 2 * tile_size,
                       .start = shape / 16 == 0 ? nullptr : start.data(),
                       .start_step = shape / 16 == 1 ? 0 : filter_tiles * tile_sums,
                       .sums = sums.data()};
    for (int row = 0; row < 4; ++row) product.source[row] = source.data() + 9 * row * tile_size;
    tiles.multiply(product);
    for (int i = 0; i < pixels * filter_tiles * static_cast<int>(tile_sums); ++i) {
      const int at = i / static_cast<int>(tile_sums);
      const auto [sum, size] = expected_sum(product, at / filter_tiles, at % filter_tiles,
                                            i % tile_sums / tile_images, i % tile_images);
      const double terms = static_cast<double>(product.rows * product.blocks * tile_depth + 1);
      ASSERT_NEAR(static_cast<double>(sums[static_cast<std::size_t>(i)]), sum,
                  1.01 * terms * u32 * size)
          << shape;
    }
  }
}

/// A batch of sixteen images [image, channel, y, x] as the rows of tiles, and back.
PixelRows to_rows(const at::Tensor& images) {
  const std::int64_t channels = images.size(1), height = images.size(2), width = images.size(3);
  PixelRows rows(height, width, whole_tiles(channels));
  const auto values = images.to(at::kFloat).contiguous();
  const auto* from = values.const_data_ptr<float>();
  for (std::int64_t i = 0; i < images.numel(); ++i) {
    const std::int64_t x = i % width, y = i / width % height,
                       channel = i / width / height % channels,
                       image = i / width / height / channels;
    rows.row(y)[x * rows.pixel_size() + (channel / 2 * tile_images + image) * 2 + channel % 2] =
        from_float<Bfloat16>(from[i]);
  }
  return rows;
}

at::Tensor images_of(std::int64_t channels, std::int64_t height, std::int64_t width, double step) {
  const at::Tensor index = at::arange(tile_images * channels * height * width, at::kDouble);
  return at::sin(index * index * step)
      .view({tile_images, channels, height, width})
      .to(at::kBFloat16)
      .to(at::kDouble);
}

/// Where a convolution's sums of one pixel go.
struct Found {
  at::Tensor images;  // [image, channel, y, x]

  void operator()(std::int64_t y, std::int64_t x, std::int64_t channel, std::int64_t channels,
                  const float* sums) const {
    auto* const to = images.mutable_data_ptr<double>();
    for (std::int64_t c = 0; c < std::min(channels, images.size(1) - channel); ++c) {
      for (std::int64_t image = 0; image < tile_images; ++image) {
        to[((image * images.size(1) + channel + c) * images.size(2) + y) * images.size(3) + x] =
            static_cast<double>(sums[c * tile_images + image]);
      }
    }
  }
};

/// Both ways, with the rows made one, two or more at a time.
void check_convolution(std::int64_t kernel, std::int64_t stride, std::int64_t padding,
                       std::int64_t height, std::int64_t width, std::int64_t at_once) {
  const std::int64_t channels = 5, filters = 35;
  AmxConvolution convolution({.height = height,
                              .width = width,
                              .channels = channels,
                              .filters = filters,
                              .kernel = kernel,
                              .stride = stride,
                              .padding = padding});
  const std::int64_t out_height = convolution.shape().output_height(),
                     out_width = convolution.shape().output_width();
  const at::Tensor input = images_of(channels, height, width, 0.37),
                   gradient = images_of(filters, out_height, out_width, 0.23),
                   weight = images_of(filters * channels, kernel, kernel, 0.71)[0].view(
                       {filters, channels, kernel, kernel}),
                   bias = at::arange(filters, at::kDouble);
  convolution.load(weight.to(at::kFloat), bias.to(at::kFloat));
  AlignedBuffer<float> sums(run_sums);
  const at::Tensor expected = at::conv2d(input, weight, bias, stride, padding);
  const std::int64_t strides[] = {stride, stride}, paddings[] = {padding, padding}, one[] = {1, 1},
                     zero[] = {0, 0};
  const at::Tensor expected_back = std::get<0>(
      at::convolution_backward(gradient, input, weight, at::OptionalIntArrayRef(), strides,
                               paddings, one, false, zero, 1, {true, false, false}));
  const PixelRows in = to_rows(input), out = to_rows(gradient);
  const AmxTiles tiles;
  const Found forward{at::full_like(expected, 99)}, backward{at::full_like(expected_back, 99)};
  for (std::int64_t y = 0; y < out_height; y += at_once) {
    convolution.forward(tiles, y, std::min(y + at_once, out_height), in, sums.data(), forward);
  }
  for (std::int64_t y = 0; y < height; y += at_once) {
    convolution.backward(tiles, y, std::min(y + at_once, height), out, sums.data(), backward);
  }
  // Terms of at most 1, of which there are as many as taps and channels, and a bias below 35.
  const double terms = static_cast<double>(kernel * kernel * filters + 1);
  EXPECT_LT((forward.images - expected).abs().max().item<double>(), terms * u32 * (terms + 35));
  EXPECT_LT((backward.images - expected_back).abs().max().item<double>(), terms * u32 * terms);
}

TEST_P(Tile, ConvolutionsAndTheirAdjointsAreExactButForRounding) {
  for (const auto& [kernel, stride, padding] :
       {std::tuple<std::int64_t, std::int64_t, std::int64_t>{3, 1, 1}, {4, 2, 1}, {1, 1, 0}}) {
    for (const auto& [height, width] :
         {std::pair<std::int64_t, std::int64_t>{2, 2}, {8, 5}, {7, 6}, {3, 19}}) {
      for (const std::int64_t at_once : {1, 2, 8}) {
        check_convolution(kernel, stride, padding, height, width, at_once);
      }
    }
  }
}

void check_filter_gradient(std::int64_t kernel, std::int64_t stride, std::int64_t padding,
                           std::int64_t height, std::int64_t width, std::int64_t channels,
                           std::int64_t filters) {
  const ConvolutionShape shape{.height = height,
                               .width = width,
                               .channels = channels,
                               .filters = filters,
                               .kernel = kernel,
                               .stride = stride,
                               .padding = padding};
  const at::Tensor input = images_of(channels, height, width, 0.37),
                   gradient = images_of(filters, shape.output_height(), shape.output_width(), 0.23),
                   weight = at::zeros({filters, channels, kernel, kernel}, at::kDouble);
  const std::int64_t strides[] = {stride, stride}, paddings[] = {padding, padding}, one[] = {1, 1},
                     zero[] = {0, 0};
  const at::Tensor expected = std::get<1>(
      at::convolution_backward(gradient, input, weight, at::OptionalIntArrayRef(), strides,
                               paddings, one, false, zero, 1, {false, true, false}));
  const PixelRows in = to_rows(input), out = to_rows(gradient);
  const AmxFilterGradient filter(shape);
  const AmxTiles tiles;
  auto workspace = filter.make_workspace();
  // What one call leaves behind does not show in the next; and sums add up.
  AlignedBuffer<float> sum(filter.sum_size());
  for (const double times : {1.0, 2.0}) {
    filter.add(tiles, in, out, workspace, sum.data());
    // Terms of at most 1, of which there are as many as images and pixels.
    const double terms =
        times * static_cast<double>(tile_images * shape.output_height() * shape.output_width());
    const auto error = [&](const at::Tensor& found, const at::Tensor& sum_of_one) {
      return (found.narrow(0, 0, filters).to(at::kDouble) - times * sum_of_one)
          .abs()
          .max()
          .item<double>();
    };
    EXPECT_LT(error(filter.weight(sum.data()).narrow(1, 0, channels), expected),
              terms * u32 * terms)
        << kernel << ' ' << height << ' ' << width << ' ' << channels << ' ' << filters;
    EXPECT_LT(error(filter.bias(sum.data()), gradient.sum({0, 2, 3})), terms * u32 * terms);
  }
}

TEST_P(Tile, FilterGradientsAreExactButForRounding) {
  for (const auto& [kernel, stride, padding] :
       {std::tuple<std::int64_t, std::int64_t, std::int64_t>{3, 1, 1}, {4, 2, 1}, {1, 1, 0}}) {
    for (const auto& [height, width] :
         {std::pair<std::int64_t, std::int64_t>{2, 2}, {8, 5}, {7, 6}, {3, 19}, {9, 33}}) {
      check_filter_gradient(kernel, stride, padding, height, width, 5, 35);
      check_filter_gradient(kernel, stride, padding, height, width, 50, 20);
    }
  }
}

/// One channel pair of one pixel.
struct Pair {
  std::vector<float> z = std::vector<float>(2 * tile_images);
  std::vector<Bfloat16> value = std::vector<Bfloat16>(2 * tile_images), derivative = value;

  /// Of a pixel of sixteen channels the first pair is looked at.
  void activate(Activation activation) {
    std::vector<float> all(16 * tile_images);
    std::copy(z.begin(), z.end(), all.begin());
    std::vector<Bfloat16> values(16 * tile_images), slopes(16 * tile_images);
    activate_pixel({.activation = activation,
                    .slope = 0.2F,
                    .channels = 16,
                    .z = all.data(),
                    .value = values.data(),
                    .derivative = slopes.data()});
    std::copy_n(values.begin(), value.size(), value.begin());
    std::copy_n(slopes.begin(), derivative.size(), derivative.begin());
  }
};

double as_double(Bfloat16 value) { return static_cast<double>(to_float(value)); }

TEST_P(Tile, ActivationsAreWithinARoundingOfBfloat16) {
  Pair pair;
  for (float start = -90.0F; start < 90.0F; start += 0.01F * 32) {
    for (std::size_t i = 0; i < 32; ++i) pair.z[i] = start + 0.01F * static_cast<float>(i);
    for (const Activation activation : {Activation::silu, Activation::leaky_relu}) {
      pair.activate(activation);
      for (std::size_t i = 0; i < 32; ++i) {
        const float of = pair.z[i % 2 * 16 + i / 2];  // channels stand side by side
        const double z = static_cast<double>(of), s = 1 / (1 + std::exp(-z));
        const bool leaks = activation == Activation::leaky_relu;
        const double value = leaks ? (z > 0 ? z : 0.2 * z) : z * s;
        const double slope = leaks ? (z > 0 ? 1 : 0.2) : s + z * s * (1 - s);
        // One rounding to bfloat16, and 2⁻¹² of each term of f′.
        ASSERT_NEAR(as_double(pair.value[i]), value, (u16 + 0x1p-12) * std::abs(value) + 1e-30)
            << z;
        ASSERT_NEAR(as_double(pair.derivative[i]), slope,
                    u16 * std::abs(slope) + 0x1p-12 * (s + std::abs(z * s) * (1 + s)) + 1e-30)
            << z;
      }
    }
  }
  pair.z[3] = std::nanf("");
  pair.activate(Activation::silu);
  EXPECT_TRUE(std::isnan(to_float(pair.value[6])) && std::isnan(to_float(pair.derivative[6])));
  EXPECT_FALSE(std::isnan(to_float(pair.value[7])));
}

TEST_P(Tile, StatesGoInAndOut) {
  for (const std::int64_t width : {1, 7, 16, 37}) {
    for (const std::int64_t count : {1, 9, 16}) {
      const std::int64_t channels = 3, height = 2, entries = (width + 2) * channels;
      std::vector<float> states(static_cast<std::size_t>(count * channels * height * width));
      for (std::size_t i = 0; i < states.size(); ++i) {  // exact in bfloat16
        states[i] = static_cast<float>(i % 251);
      }
      std::vector<float> again(states.size(), -1),
          scratch(static_cast<std::size_t>((entries + 1) * tile_images));
      std::vector<Bfloat16> row(static_cast<std::size_t>(entries * 2 * tile_images));
      for (std::int64_t y = 0; y < height; ++y) {
        load_state_row(count, channels, height, width, y, states.data(), scratch.data(),
                       row.data());
        for (std::int64_t i = 0; i < entries * tile_images; ++i) {
          const auto at = static_cast<std::size_t>(i);
          ASSERT_EQ(to_float(row[2 * at]), scratch[at]);
          ASSERT_EQ(to_float(row[2 * at + 1]), scratch[at + tile_images]) << "the next entry";
        }
        store_state_row(count, channels, height, width, y, scratch.data() + channels * tile_images,
                        again.data());
      }
      ASSERT_EQ(again, states);
    }
  }
}

}  // namespace
}  // namespace stanley
