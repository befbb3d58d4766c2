#include "kernels/elementwise.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <tuple>

#include "engines/winograd/input_convolution.hpp"
#include "kernels/bfloat16.hpp"
#include "kernels/first_convolution.hpp"
#include "unit/instruction_sets.hpp"

namespace stanley {
namespace {

/// Unit roundoff of float32.
constexpr double u = 0x1p-24;

/// About a million floats over the whole range, both signs, infinities and NaN among them.
std::vector<float> all_kinds() {
  std::vector<float> values{0.0F, -0.0F, 1e38F, -1e38F, 88.0F, -88.0F, 87.0F, -87.0F};
  for (std::uint64_t bits = 0; bits < (1ULL << 32); bits += 4099) {
    values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
  }
  for (int i = -20000; i <= 20000; ++i) values.push_back(static_cast<float>(i) * 1e-3F);
  const float infinity = std::numeric_limits<float>::infinity();
  values.insert(values.end(), {std::nanf(""), -std::nanf(""), infinity, -infinity});
  values.resize(values.size() / 64 * 64 + 65 + 23);  // not of whole vectors
  return values;
}

class Elementwise : public EachInstructionSet {};
WITH_EACH_INSTRUCTION_SET(Elementwise);

TEST_P(Elementwise, SiluAndItsDerivative) {
  const std::vector<float> in = all_kinds();
  std::vector<float> value = in, derivative(in.size());
  activate_floats(Activation::silu, 0.0F, static_cast<std::int64_t>(in.size()), value.data(),
                  derivative.data());
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (std::isnan(in[i])) {
      EXPECT_TRUE(std::isnan(value[i]));
      continue;
    }
    if (std::isinf(in[i])) continue;
    const double z = static_cast<double>(in[i]), e = std::exp(-z), s = 1 / (1 + e);
    const double y = z * s, d = std::isinf(e) ? 0 : s + y * (1 - s);
    // Roundings: two in the exponential, then one each in the sum, the quotient and the product;
    // below −87 the logistic function stays at e^−87.
    const double clamped = std::abs(z) > 86.9 ? 1.01 * std::exp(-86.9) : 0;
    const double bound = 5 * u * std::abs(y) + clamped * std::abs(z) + 0x1p-149;
    // 1 − s is exact but for the error of s, which is lost where 1 + e rounds to 1.
    const double complement = e < 0x1p-25 ? e : 5 * u;
    const double slope_bound = 4 * u * s + 5 * u * std::abs(y) * (1 - s) +
                               std::abs(y) * complement + u * std::abs(d) +
                               2 * clamped * (1 + std::abs(z));
    if (!(std::abs(static_cast<double>(value[i]) - y) <= bound)) ++wrong;
    if (!(std::abs(static_cast<double>(derivative[i]) - d) <= slope_bound)) ++wrong;
    if (wrong > 0) {
      FAIL() << in[i] << ": " << value[i] << " for " << y << " within " << bound << ", "
             << derivative[i] << " for " << d << " within " << slope_bound;
    }
  }
}

TEST_P(Elementwise, LeakyReluAndItsDerivative) {
  const std::vector<float> in = all_kinds();
  std::vector<float> value = in, derivative(in.size());
  activate_floats(Activation::leaky_relu, 0.2F, static_cast<std::int64_t>(in.size()), value.data(),
                  derivative.data());
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (std::isnan(in[i])) {
      EXPECT_TRUE(std::isnan(value[i]));
      continue;
    }
    ASSERT_EQ(value[i], in[i] > 0 ? in[i] : 0.2F * in[i]);
    ASSERT_EQ(derivative[i], in[i] > 0 ? 1.0F : 0.2F) << in[i];
  }
}

TEST_P(Elementwise, Bfloat16RoundsToNearestEven) {
  const auto rounded = [](std::uint32_t bits) {
    return from_float<Bfloat16>(std::bit_cast<float>(bits)).bits;
  };
  EXPECT_EQ(rounded(0x3f808000U), 0x3f80);  // a tie: to even, down
  EXPECT_EQ(rounded(0x3f818000U), 0x3f82);  // a tie: to even, up
  EXPECT_EQ(rounded(0x3f808001U), 0x3f81);
  EXPECT_EQ(rounded(0x3f807fffU), 0x3f80);
  EXPECT_EQ(rounded(0x7f7fffffU), 0x7f80);  // the largest float: to infinity
  EXPECT_EQ(rounded(0xff800000U), 0xff80);  // −infinity
  EXPECT_EQ(rounded(0x80000000U), 0x8000);  // −0
  for (const std::uint32_t nan : {0x7f800001U, 0x7fffffffU, 0xff800001U, 0xffc00000U}) {
    EXPECT_TRUE(std::isnan(to_float(from_float<Bfloat16>(std::bit_cast<float>(nan)))));
  }
  const std::vector<float> values = all_kinds();
  const auto count = static_cast<std::int64_t>(values.size());
  std::vector<Bfloat16> halves(values.size());
  std::vector<float> floats(values.size());
  narrow(count, values.data(), halves.data());
  widen(count, halves.data(), floats.data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(halves[i].bits, from_float<Bfloat16>(values[i]).bits) << values[i];
    ASSERT_EQ(std::bit_cast<std::uint32_t>(floats[i]), std::uint32_t{halves[i].bits} << 16);
    if (std::isnan(values[i])) continue;
    ASSERT_EQ(halves[i].bits, at::BFloat16(values[i]).x) << values[i];
  }
}

TEST_P(Elementwise, Products) {
  const auto number = [](std::size_t i) {
    return static_cast<float>((i * 7919) % 1009) / 504.0F - 1.0F;
  };
  for (const std::int64_t count : {1, 3, 16, 63, 64, 65, 200, 3400}) {
    const auto size = static_cast<std::size_t>(count);
    std::vector<float> a(size), b(size), product(size);
    double sum = 0, absolute = 0;
    for (std::size_t i = 0; i < size; ++i) {
      a[i] = number(i);
      b[i] = number(i + 500);
      const double term = static_cast<double>(a[i]) * static_cast<double>(b[i]);
      sum += term;
      absolute += std::abs(term);
    }
    multiply_floats(count, a.data(), b.data(), product.data());
    for (std::size_t i = 0; i < size; ++i) ASSERT_EQ(product[i], a[i] * b[i]);
    ASSERT_NEAR(static_cast<double>(dot(count, a.data(), b.data())), sum,
                1.01 * u * static_cast<double>(count) * absolute);
  }
}

TEST_P(Elementwise, FirstConvolution) {
  const auto number = [](std::int64_t i) {
    return static_cast<float>((i * 7919) % 1009) / 504.5F - 1.0F;
  };
  for (const std::int64_t channels : {1, 3}) {
    for (const std::int64_t border : {0, 1}) {
      const ImageLayout layout{5, 13, 32, border, 5 + 2 * border, 13 + 3 * border};
      std::vector<float> state(static_cast<std::size_t>(channels * 7 * 15));
      for (std::int64_t i = 0; i < channels * 5 * 13; ++i) {
        const std::int64_t row = i / 13 / 5 * 7 + i / 13 % 5 + 1;
        state[static_cast<std::size_t>(row * 15 + i % 13 + 1)] = number(i);
      }
      std::vector<float> weight(static_cast<std::size_t>(channels * 9 * 32)), bias(32);
      for (std::size_t i = 0; i < weight.size(); ++i) {
        weight[i] = number(static_cast<std::int64_t>(i) + 31);
      }
      for (std::size_t i = 0; i < 32; ++i) bias[i] = number(static_cast<std::int64_t>(i));
      std::vector<float> out(static_cast<std::size_t>(layout.size()), -7.0F);
      convolve_first(layout, channels, state.data(), weight.data(), bias.data(), out.data());
      for (std::int64_t at = 0; at < layout.size(); ++at) {
        const std::int64_t y = at / 32 / layout.columns - border;
        const std::int64_t x = at / 32 % layout.columns - border, filter = at % 32;
        const float found = out[static_cast<std::size_t>(at)];
        if (y < 0 || x < 0 || y >= 5 || x >= 13) {
          ASSERT_EQ(found, -7.0F) << "surroundings are not written";
          continue;
        }
        double sum = static_cast<double>(bias[static_cast<std::size_t>(filter)]);
        for (std::int64_t tap = 0; tap < channels * 9; ++tap) {
          const std::int64_t row = tap / 9 * 7 + y + tap % 9 / 3, column = x + tap % 3;
          sum += static_cast<double>(state[static_cast<std::size_t>(row * 15 + column)]) *
                 static_cast<double>(weight[static_cast<std::size_t>(tap * 32 + filter)]);
        }
        // At most 28 terms below 1.
        ASSERT_NEAR(static_cast<double>(found), sum, 28 * 28 * u);
      }
    }
  }
}

/// The gradient of a first convolution's state, against its definition. What surrounds the image,
/// and what an earlier call left, is NaN and must not be seen.
void check_first_gradient(const StateShape& shape, std::int64_t filters, std::int64_t border) {
  SCOPED_TRACE(testing::PrintToString(shape) + ", " + std::to_string(filters) + " filters");
  const auto number = [](std::int64_t i) {
    return static_cast<float>((i * 7919) % 1009) / 504.5F - 1.0F;
  };
  const auto [channels, height, width] = std::tuple{shape[0], shape[1], shape[2]};
  const std::int64_t padded = whole_lanes(filters);
  const ImageLayout layout{height, width, padded, border, height + 2 * border, width + 3 * border};
  InputConvolution convolution(shape, filters, layout);
  std::vector<float> weight(static_cast<std::size_t>(filters * channels * 9)),
      bias(static_cast<std::size_t>(filters));
  for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = number(static_cast<std::int64_t>(i));
  convolution.load(weight.data(), bias.data());
  std::vector<float> image(static_cast<std::size_t>(layout.size()), std::nanf(""));
  const auto pixel = [&](std::int64_t y, std::int64_t x, std::int64_t filter) -> float& {
    return image[static_cast<std::size_t>(layout.row(y) + x * padded + filter)];
  };
  auto workspace = convolution.make_workspace();
  std::vector<float> gradient(static_cast<std::size_t>(element_count(shape)));
  convolution.backward(workspace, image.data(), gradient.data());
  for (std::int64_t i = 0; i < height * width * padded; ++i) {
    const std::int64_t filter = i % padded;
    pixel(i / padded / width, i / padded % width, filter) = filter < filters ? number(i + 31) : 0;
  }
  convolution.backward(workspace, image.data(), gradient.data());
  for (std::int64_t i = 0; i < element_count(shape); ++i) {
    const std::int64_t channel = i / width / height, y = i / width % height, x = i % width;
    double sum = 0, absolute = 0;
    for (std::int64_t k = 0; k < 9 * filters; ++k) {
      const std::int64_t filter = k / 9, tap = k % 9;
      const std::int64_t from_y = y + 1 - tap / 3, from_x = x + 1 - tap % 3;
      if (from_y < 0 || from_y >= height || from_x < 0 || from_x >= width) continue;
      const double term =
          static_cast<double>(pixel(from_y, from_x, filter)) *
          static_cast<double>(
              weight[static_cast<std::size_t>((filter * channels + channel) * 9 + tap)]);
      sum += term;
      absolute += std::abs(term);
    }
    // Each lane adds up 9 terms for every 16 filters, and four sums of pairs follow.
    const double additions = static_cast<double>(9 * padded / 16 + 4);
    ASSERT_NEAR(static_cast<double>(gradient[static_cast<std::size_t>(i)]), sum,
                1.01 * u * additions * absolute)
        << i;
  }
}

TEST_P(Elementwise, FirstGradient) {
  for (const std::int64_t width : {1, 5, 16, 17, 33}) {
    for (const std::int64_t height : {1, 2, 7}) {
      check_first_gradient({1, height, width}, 16, 1);
      check_first_gradient({3, height, width}, 40, 0);
    }
  }
}

}  // namespace
}  // namespace stanley
