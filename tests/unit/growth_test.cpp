#include "energy/growth.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "energy/network.hpp"

namespace stanley {
namespace {

struct GrowthCase {
  Downsampling downsampling;
  Activation activation;
  std::int64_t image_channels, levels, height, width;
};

std::vector<GrowthCase> growths() {
  std::vector<GrowthCase> cases;
  for (const Downsampling downsampling : {Downsampling::strides, Downsampling::means}) {
    for (const Activation activation : {Activation::silu, Activation::leaky_relu}) {
      for (const std::int64_t channels : {1, 3}) {
        for (const std::int64_t levels : {2, 3}) {
          cases.push_back({downsampling, activation, channels, levels, 16, 16});
        }
        cases.push_back({downsampling, activation, channels, 3, 8, 28});
      }
    }
  }
  return cases;
}

std::vector<at::Tensor> in_double(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> result;
  for (const at::Tensor& tensor : tensors) result.push_back(tensor.detach().to(at::kDouble));
  return result;
}

/// A network below, one above it, and the weights that it grows to.
struct Grown {
  explicit Grown(const GrowthCase& one, std::int64_t more_channels = 2) {
    EnergyConfig config{
        .channels = channels_to_grow(one.downsampling, one.image_channels) + more_channels,
        .levels = one.levels,
        .downsampling = one.downsampling,
        .activation = one.activation,
        .slope = 0.3};
    above = make_network(config, {one.image_channels, one.height, one.width}, 4);
    config.channels *= 2;
    --config.levels;
    below = make_network(config, {one.image_channels, one.height / 2, one.width / 2}, 5);
    weights =
        grow(*below->plan(), below->parameter_values(), *above->plan(), above->parameter_values());
  }
  std::unique_ptr<Network> above, below;
  std::vector<at::Tensor> weights;
};

TEST(Growth, KeepsTheEnergyOfTheReducedImageUpToItsEdges) {
  const c10::NoGradGuard no_gradient;
  at::manual_seed(3);
  for (const GrowthCase& one : growths()) {
    const Grown grown(one);
    // Last: one bright pixel in each corner and at each edge, where zeros around images count.
    at::Tensor images =
        at::rand({8, one.image_channels, one.height, one.width}, at::kDouble) * 2 - 1;
    images[7].zero_();
    for (const std::int64_t y : {std::int64_t{0}, one.height / 2, one.height - 1}) {
      for (const std::int64_t x : {std::int64_t{0}, one.width / 2, one.width - 1}) {
        images[7].select(1, y).select(1, x).fill_(5);
      }
    }
    const at::Tensor expected =
        grown.below->forward(at::avg_pool2d(images, 2), in_double(grown.below->parameter_values()));
    const at::Tensor found = grown.above->forward(images, in_double(grown.weights));
    EXPECT_GT(expected.std().item<double>(), 1e-4);
    EXPECT_LT((found - expected).abs().max().item<double>(), 2e-7)
        << to_string(one.downsampling) << ' ' << to_string(one.activation) << ' '
        << one.image_channels << ' ' << one.levels << ' ' << one.width;
    // In the arithmetic of a training.
    const at::Tensor in_float = grown.above->forward(images.to(at::kFloat), grown.weights);
    EXPECT_LT((in_float - expected).abs().max().item<double>(), 1e-5);
  }
}

TEST(Growth, LeavesTheOtherFiltersAsTheyWereAndUnread) {
  const GrowthCase one = growths().front();
  const Grown grown(one, 5);
  const std::int64_t pairs = channels_to_grow(one.downsampling, one.image_channels);
  const std::vector<at::Tensor> fresh = grown.above->parameter_values();
  for (const std::size_t i : {0, 1}) {
    EXPECT_TRUE(at::equal(grown.weights[i].narrow(0, pairs, 5), fresh[i].narrow(0, pairs, 5)));
    EXPECT_FALSE(at::equal(grown.weights[i].narrow(0, 0, pairs), fresh[i].narrow(0, 0, pairs)));
  }
  EXPECT_EQ(grown.weights[2].narrow(1, pairs, 5).abs().max().item<double>(), 0);
  const std::vector<at::Tensor> old = grown.below->parameter_values();
  for (std::size_t i = 4; i < grown.weights.size(); ++i) {
    EXPECT_TRUE(at::equal(grown.weights[i], old[i - 2])) << i;
  }
  EXPECT_TRUE(at::equal(grown.weights[3], old[1]));
}

TEST(Growth, NeedsAPairForEachShift) {
  EXPECT_EQ(channels_to_grow(Downsampling::strides, 1), 8);
  EXPECT_EQ(channels_to_grow(Downsampling::strides, 3), 24);
  EXPECT_EQ(channels_to_grow(Downsampling::means, 3), 54);
}

TEST(Growth, LayersOfALevelHaveTheNamesAndRandomNumbersOfTheWholeNetwork) {
  const auto whole = make_network({.channels = 16}, {1, 32, 32}, 1);
  const auto half = make_network({.channels = 32, .levels = 2}, {1, 16, 16}, 1);
  const auto quarter = make_network({.channels = 64, .levels = 1}, {1, 8, 8}, 1);
  const auto names = [](const Network& network) {
    std::vector<std::string> result;
    for (const auto& one : network.parameters()) {
      if (one.name.ends_with(".weight")) {
        result.push_back(one.name.substr(0, 8) + ' ' + testing::PrintToString(one.value.sizes()));
      }
    }
    return result;
  };
  EXPECT_EQ(names(*half),
            (std::vector<std::string>{"layers.1 { 32, 1, 3, 3 }", "layers.2 { 64, 32, 4, 4 }",
                                      "layers.3 { 128, 64, 4, 4 }", "layers.4 { 1, 128, 4, 4 }"}));
  EXPECT_EQ(names(*quarter),
            (std::vector<std::string>{"layers.2 { 64, 1, 3, 3 }", "layers.3 { 128, 64, 4, 4 }",
                                      "layers.4 { 1, 128, 4, 4 }"}));
  for (const Network* small : {half.get(), quarter.get()}) {
    const std::size_t left_out = whole->parameters().size() - small->parameters().size();
    for (std::size_t i = 2; i < small->parameters().size(); ++i) {
      EXPECT_TRUE(at::equal(small->parameters()[i].value, whole->parameters()[left_out + i].value));
    }
  }
}

}  // namespace
}  // namespace stanley
