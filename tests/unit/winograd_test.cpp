#include "kernels/winograd.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <vector>

#include "kernels/instruction_sets.hpp"
#include "kernels/matrix_product.hpp"
#include "kernels/memory.hpp"

namespace stanley {
namespace {

constexpr std::int64_t in_channels = 3, out_channels = 20;

/// A number of [-1, 1) that depends on `i` alone.
float number(std::int64_t i) { return static_cast<float>((i * 7919) % 1009) / 504.5F - 1.0F; }

/// A convolution from an image of this size.
struct ConvolutionCase {
  std::int64_t stride, height, width;

  std::int64_t kernel() const { return stride == 1 ? 3 : 4; }
  std::int64_t out_height() const { return height / stride; }
  std::int64_t out_width() const { return width / stride; }
};

WinogradTiles tiles_of(const ConvolutionCase& one) {
  WinogradTiles tiles =
      winograd_tiles(one.stride, one.out_height(), one.out_width(), in_channels * out_channels);
  const auto layout = [&](std::int64_t channels, std::int64_t rows, std::int64_t columns,
                          std::int64_t row_reach, std::int64_t column_reach) {
    return ImageLayout{rows,
                       columns,
                       whole_lanes(channels),
                       1,
                       std::max(rows + 2, row_reach),
                       std::max(columns + 2, column_reach)};
  };
  tiles.input =
      layout(in_channels, one.height, one.width, tiles.input_rows(), tiles.input_columns());
  tiles.output = layout(out_channels, one.out_height(), one.out_width(), tiles.output_rows(),
                        tiles.output_columns());
  return tiles;
}

/// An image whose pixels are numbers and whose surroundings are zero.
std::vector<float> image_of(const ImageLayout& layout, std::int64_t channels, std::int64_t seed) {
  std::vector<float> image(static_cast<std::size_t>(layout.size()));
  for (std::int64_t y = 0; y < layout.height; ++y) {
    for (std::int64_t x = 0; x < layout.width; ++x) {
      for (std::int64_t channel = 0; channel < channels; ++channel) {
        image[static_cast<std::size_t>(layout.row(y) + x * layout.channels + channel)] =
            number(seed++);
      }
    }
  }
  return image;
}

/// products [point, tile, columns] = transformed [point, tile, depth] × filter, for each point
/// [panel, depth, panel_columns].
std::vector<float> multiply_points(const WinogradTiles& tiles, std::int64_t depth,
                                   std::int64_t columns, const std::vector<float>& transformed,
                                   const std::vector<float>& filter) {
  std::vector<float> products(static_cast<std::size_t>(tiles.points() * tiles.count() * columns));
  for (std::int64_t row = 0; row < tiles.points() * tiles.count(); ++row) {
    for (std::int64_t column = 0; column < columns; ++column) {
      double sum = 0;
      for (std::int64_t k = 0; k < depth; ++k) {
        const std::int64_t point = row / tiles.count();
        const std::int64_t at = (column / panel_columns * depth + k) * panel_columns;
        sum += static_cast<double>(transformed[static_cast<std::size_t>(row * depth + k)]) *
               static_cast<double>(filter[static_cast<std::size_t>(point * tiles.filter_size() +
                                                                   at + column % panel_columns)]);
      }
      products[static_cast<std::size_t>(row * columns + column)] = static_cast<float>(sum);
    }
  }
  return products;
}

/// Even and odd sides, whole and broken tiles, of all sizes.
class Winograd : public testing::TestWithParam<std::tuple<ConvolutionCase, InstructionSet>> {
 protected:
  const ConvolutionCase& size() const { return std::get<0>(GetParam()); }

 private:
  const ForcedInstructionSet forced_{std::get<1>(GetParam())};
};

TEST_P(Winograd, IsTheConvolution) {
  const WinogradTiles tiles = tiles_of(size());
  const std::int64_t stride = size().stride, kernel = size().kernel();
  std::vector<float> weight(static_cast<std::size_t>(out_channels * in_channels * kernel * kernel));
  for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = number(static_cast<std::int64_t>(i));
  std::vector<float> bias(static_cast<std::size_t>(tiles.output.channels), 0.25F);
  const std::vector<float> image = image_of(tiles.input, in_channels, 50);
  const std::int64_t depth = tiles.phases() * tiles.input.channels;
  std::vector<float> transformed(static_cast<std::size_t>(tiles.points() * tiles.count() * depth));
  winograd_input(tiles, image.data(), tiles.count() * depth, transformed.data());
  std::vector<float> filter(static_cast<std::size_t>(tiles.points() * tiles.filter_size()));
  winograd_filter(tiles, out_channels, in_channels, weight.data(), filter.data());
  const std::vector<float> products =
      multiply_points(tiles, depth, tiles.output.channels, transformed, filter);
  std::vector<float> out(static_cast<std::size_t>(tiles.output.size()), -7.0F);
  winograd_output(tiles, products.data(), tiles.count() * tiles.output.channels, bias.data(),
                  out.data());
  const auto pixel = [](const ImageLayout& layout, std::int64_t y, std::int64_t x) {
    return static_cast<std::size_t>(layout.row(y) + x * layout.channels);
  };
  for (std::int64_t y = -1; y < tiles.output.rows - 1; ++y) {
    for (std::int64_t x = -1; x < tiles.output.columns - 1; ++x) {
      for (std::size_t o = 0; o < static_cast<std::size_t>(out_channels); ++o) {
        const float found = out[pixel(tiles.output, y, x) + o];
        if (y < 0 || x < 0 || y >= tiles.output.height || x >= tiles.output.width) {
          ASSERT_EQ(found, -7.0F) << "surroundings are not written";
          continue;
        }
        double sum = 0.25;
        for (std::int64_t tap = 0; tap < kernel * kernel; ++tap) {
          const std::int64_t row = stride * y + tap / kernel - 1;
          const std::int64_t column = stride * x + tap % kernel - 1;
          for (std::size_t i = 0; i < static_cast<std::size_t>(in_channels); ++i) {
            // The layout's border holds the padding's zeros.
            sum += static_cast<double>(image[pixel(tiles.input, row, column) + i]) *
                   static_cast<double>(weight[(o * static_cast<std::size_t>(in_channels) + i) *
                                                  static_cast<std::size_t>(kernel * kernel) +
                                              static_cast<std::size_t>(tap)]);
          }
        }
        // 48 products of numbers below 1, through matrices whose entries are at most 8.
        ASSERT_NEAR(static_cast<double>(found), sum, 4e-5) << y << ' ' << x << ' ' << o;
      }
    }
  }
}

/// ⟨T a, b⟩ = ⟨a, Tᵀ b⟩ for the transformation of inputs and for that of outputs.
TEST_P(Winograd, BackwardIsTheAdjoint) {
  const WinogradTiles tiles = tiles_of(size());
  const auto inner = [](const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    }
    return sum;
  };
  const auto numbers = [](std::int64_t count, std::int64_t seed) {
    std::vector<float> result(static_cast<std::size_t>(count));
    for (float& value : result) value = number(seed++);
    return result;
  };
  const std::int64_t stride = tiles.count() * tiles.phases() * tiles.input.channels;
  const std::vector<float> image = image_of(tiles.input, tiles.input.channels, 3);
  const std::vector<float> gradient = numbers(tiles.points() * stride, 11);
  const std::vector<float> factor = image_of(tiles.input, tiles.input.channels, 29);
  std::vector<float> scaled = image;
  for (std::size_t i = 0; i < scaled.size(); ++i) scaled[i] *= factor[i];
  std::vector<float> transformed(gradient.size()), image_gradient(image.size(), 5.0F);
  winograd_input(tiles, scaled.data(), stride, transformed.data());
  winograd_input_adjoint(tiles, gradient.data(), stride, factor.data(), image_gradient.data());
  EXPECT_NEAR(inner(transformed, gradient), inner(image, image_gradient),
              1e-5 * std::sqrt(inner(transformed, transformed) * inner(gradient, gradient)));

  // A chain that has left all bounds must not reach the ones that are computed here after it.
  const std::vector<float> nothing(gradient.size(), std::nanf(""));
  winograd_input_adjoint(tiles, nothing.data(), stride, factor.data(), image_gradient.data());
  for (std::size_t i = 0; i < image.size(); ++i) {
    const bool outside = image[i] == 0;
    ASSERT_TRUE(outside ? image_gradient[i] == 0 : std::isnan(image_gradient[i]));
  }

  const std::int64_t out_stride = tiles.count() * tiles.output.channels;
  const std::vector<float> products = numbers(tiles.points() * out_stride, 17);
  const std::vector<float> out_gradient = image_of(tiles.output, tiles.output.channels, 23);
  const std::vector<float> bias(static_cast<std::size_t>(tiles.output.channels));
  std::vector<float> out(out_gradient.size()), product_gradient(products.size());
  winograd_output(tiles, products.data(), out_stride, bias.data(), out.data());
  winograd_output_adjoint(tiles, out_gradient.data(), out_stride, product_gradient.data());
  EXPECT_NEAR(inner(out, out_gradient), inner(products, product_gradient),
              1e-5 * std::sqrt(inner(out, out) * inner(out_gradient, out_gradient)));
}

TEST(WinogradTiles, AreOfTheSideThatTakesTheLeastTime) {
  EXPECT_EQ(winograd_tiles(2, 16, 16, 512).side, 4);
  EXPECT_EQ(winograd_tiles(2, 3, 3, 8192).side, 3) << "4×4 would be mostly empty";
  EXPECT_EQ(winograd_tiles(2, 4, 4, 8192).side, 4);
  EXPECT_EQ(winograd_tiles(2, 4, 4, 512 * 512).side, 2) << "a third of the filters' memory";
  EXPECT_EQ(winograd_tiles(1, 3, 3, 512).side, 4);
  EXPECT_EQ(winograd_tiles(1, 2, 2, 512).side, 2);
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, Winograd,
    testing::Combine(testing::Values(ConvolutionCase{2, 32, 32}, ConvolutionCase{2, 16, 18},
                                     ConvolutionCase{2, 19, 37}, ConvolutionCase{2, 8, 8},
                                     ConvolutionCase{2, 7, 10}, ConvolutionCase{2, 2, 3},
                                     ConvolutionCase{2, 10, 12}, ConvolutionCase{2, 13, 6},
                                     ConvolutionCase{2, 4, 11}, ConvolutionCase{1, 5, 6},
                                     ConvolutionCase{1, 16, 16}, ConvolutionCase{1, 9, 14},
                                     ConvolutionCase{1, 4, 4}, ConvolutionCase{1, 5, 7},
                                     ConvolutionCase{1, 1, 2}),
                     testing::ValuesIn(processor_instruction_sets())));

}  // namespace
}  // namespace stanley
