#include "kernels/fused_elementwise.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/chain_update.hpp"
#include "random/normal.hpp"
#include "unit/instruction_sets.hpp"

namespace stanley {
namespace {

/// Normal numbers in the element's type.
template <typename Element>
std::vector<Element> numbers(std::int64_t count, std::uint32_t seed) {
  std::vector<float> values(static_cast<std::size_t>(count));
  const std::int64_t id[] = {0};
  fill_normal_cpu({.seed = seed}, id, 0, count, 1.5F, values.data());
  std::vector<Element> result;
  for (const float value : values) result.push_back(from_float<Element>(value));
  return result;
}

template <typename Element>
constexpr double rounding() {
  return sizeof(Element) == 2 ? 0x1p-8 : 0x1p-24;
}

/// f and f′ in double precision.
std::pair<double, double> activated(Activation activation, double slope, double z) {
  if (activation == Activation::leaky_relu) return {z > 0 ? z : slope * z, z > 0 ? 1.0 : slope};
  const double s = 1 / (1 + std::exp(-z));
  return {z * s, s + z * s * (1 - s)};
}

/// Within two roundings to the element's type and eight of float32 inside.
template <typename Element>
void expect_near(double found, double expected, double scale) {
  EXPECT_NEAR(found, expected, (2 * rounding<Element>() + 8 * 0x1p-23) * scale + 1e-30);
}

template <typename Element>
struct ActivationCase {
  std::int64_t pixels, channels;
  Activation activation;
  bool skips, keeps, in_place;
};

template <typename Element>
void check(const ActivationCase<Element>& one) {
  const std::int64_t count = one.pixels * one.channels;
  const std::vector<Element> z = numbers<Element>(count, 1), skip = numbers<Element>(count, 2);
  const std::vector<float> bias = numbers<float>(one.channels, 3);
  std::vector<Element> input = z, hidden(z.size()), value(z.size()), derivative(z.size());
  const FusedActivation<Element> pass{
      .activation = one.activation,
      .slope = 0.2F,
      .pixels = one.pixels,
      .channels = one.channels,
      .z = input.data(),
      .bias = bias.data(),
      .skip = one.skips ? skip.data() : nullptr,
      .hidden = !one.keeps     ? nullptr
                : one.in_place ? input.data()
                               : hidden.data(),
      .value = !one.keeps && one.in_place ? input.data() : value.data(),
      .derivative = derivative.data()};
  run_fused_cpu(pass);
  for (std::size_t i = 0; i < z.size(); ++i) {
    const double b = static_cast<double>(bias[i % bias.size()]);
    const double s = one.skips ? static_cast<double>(to_float(skip[i])) : 0;
    const double of_z = static_cast<double>(to_float(z[i])), sum = of_z + b + s;
    const double scale = std::abs(of_z) + std::abs(b) + std::abs(s);
    // f and f′ take the sum as it is stored, whose rounding f stretches by 1.1 at most, f′ by 1/2.
    const auto [f, slope] = activated(one.activation, static_cast<double>(0.2F), sum);
    if (one.keeps) expect_near<Element>(static_cast<double>(to_float(pass.hidden[i])), sum, scale);
    expect_near<Element>(static_cast<double>(to_float(pass.value[i])), f, 2 * scale);
    if (one.activation == Activation::silu || std::abs(sum) > scale * rounding<Element>()) {
      expect_near<Element>(static_cast<double>(to_float(derivative[i])), slope, 1.1 + scale);
    }
  }
}

template <typename Element>
void check_all_activations() {
  for (const Activation activation : {Activation::silu, Activation::leaky_relu}) {
    for (const auto& [pixels, channels] :
         {std::pair{1, 1}, {1, 16}, {7, 3}, {40, 16}, {129, 48}, {3, 5000}, {2000, 33}}) {
      for (const bool skips : {false, true}) {
        for (const bool keeps : {false, true}) {
          for (const bool in_place : {false, true}) {
            check<Element>({pixels, channels, activation, skips, keeps, in_place});
          }
        }
      }
    }
  }
}

class FusedElementwise : public EachInstructionSet {};
WITH_EACH_INSTRUCTION_SET(FusedElementwise);

TEST_P(FusedElementwise, ActivatesFloat32) { check_all_activations<float>(); }
TEST_P(FusedElementwise, ActivatesBfloat16) { check_all_activations<Bfloat16>(); }

/// gradient · derivative + skip, with the skip's place looked up pixel by pixel.
template <typename Element>
void check_derivatives(std::int64_t images, std::int64_t height, std::int64_t width,
                       std::int64_t channels, Skip kind) {
  const std::int64_t count = images * height * width * channels;
  std::vector<Element> gradient = numbers<Element>(count, 1);
  const std::vector<Element> before = gradient, derivative = numbers<Element>(count, 2),
                             skip = numbers<Element>(count, 3);
  run_fused_cpu(FusedDerivative<Element>{.images = images,
                                         .height = height,
                                         .width = width,
                                         .channels = channels,
                                         .gradient = gradient.data(),
                                         .derivative = derivative.data(),
                                         .kind = kind,
                                         .skip = kind == Skip::none ? nullptr : skip.data(),
                                         .out = gradient.data()});
  const auto at = [](const std::vector<Element>& values, std::int64_t i) {
    return static_cast<double>(to_float(values[static_cast<std::size_t>(i)]));
  };
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t channel = i % channels, x = i / channels % width,
                       y = i / channels / width % height, image = i / channels / width / height;
    double added = kind == Skip::same ? at(skip, i) : 0;
    if (kind == Skip::halved && x < width / 2 * 2 && y < height / 2 * 2) {
      added =
          at(skip, ((image * (height / 2) + y / 2) * (width / 2) + x / 2) * channels + channel) / 4;
    }
    const double product = at(before, i) * at(derivative, i);
    expect_near<Element>(at(gradient, i), product + added, std::abs(product) + std::abs(added));
  }
}

TEST_P(FusedElementwise, MultipliesAndAdds) {
  for (const Skip kind : {Skip::none, Skip::same, Skip::halved}) {
    for (const auto& [images, height, width, channels] :
         {std::tuple{1, 1, 1, 5}, {3, 8, 6, 16}, {2, 7, 9, 3}, {5, 2, 33, 40}, {1, 9, 2, 64}}) {
      check_derivatives<float>(images, height, width, channels, kind);
      check_derivatives<Bfloat16>(images, height, width, channels, kind);
    }
  }
}

TEST_P(FusedElementwise, KeepsWhatIsNotANumber) {
  std::vector<float> z(20, 1.0F), derivative(20), bias(5, 0.0F);
  z[7] = std::numeric_limits<float>::quiet_NaN();
  run_fused_cpu(FusedActivation<float>{Activation::silu, 0, 4, 5, z.data(), bias.data(), nullptr,
                                       nullptr, z.data(), derivative.data()});
  for (std::size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(std::isnan(z[i]), i == 7);
    EXPECT_EQ(std::isnan(derivative[i]), i == 7);
  }
}

}  // namespace
}  // namespace stanley
