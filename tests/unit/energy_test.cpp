#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <array>
#include <cmath>

#include "config/error.hpp"
#include "energy/network.hpp"

namespace stanley {
namespace {

struct NameAndShape {
  std::string name;
  std::vector<std::int64_t> shape;
  bool operator==(const NameAndShape&) const = default;
};

std::ostream& operator<<(std::ostream& out, const NameAndShape& value) {
  return out << value.name << ' ' << testing::PrintToString(value.shape);
}

std::vector<NameAndShape> parameters_of(const Network& network) {
  std::vector<NameAndShape> result;
  for (const NamedTensor& parameter : network.parameters()) {
    result.push_back({parameter.name, parameter.value.sizes().vec()});
  }
  return result;
}

std::int64_t count_of(const Network& network) {
  std::int64_t count = 0;
  for (const NamedTensor& parameter : network.parameters()) count += parameter.value.numel();
  return count;
}

ExitCode code_of(const EnergyConfig& config, const StateShape& shape) {
  try {
    make_network(config, shape, 1);
  } catch (const Error& error) {
    return error.code;
  }
  return ExitCode::finished;
}

TEST(EnergyNetwork, MlpHasPyTorchNames) {
  const auto network =
      make_network({.type = EnergyType::mlp, .hidden = {5, 3}}, StateShape{1, 2, 4}, 1);
  EXPECT_EQ(parameters_of(*network), (std::vector<NameAndShape>{{"layers.0.weight", {5, 8}},
                                                                {"layers.0.bias", {5}},
                                                                {"layers.1.weight", {3, 5}},
                                                                {"layers.1.bias", {3}},
                                                                {"layers.2.weight", {1, 3}},
                                                                {"layers.2.bias", {1}}}));
  EXPECT_EQ(network->forward_flops(), 2 * (5 * 8 + 3 * 5 + 3));
  const at::Tensor images = at::ones({6, 1, 2, 4});
  EXPECT_EQ(network->forward(images, network->parameter_values()).sizes().vec(),
            std::vector<std::int64_t>{6});
}

TEST(EnergyNetwork, ConvnetHasPyTorchNames) {
  const auto network = make_network({.channels = 16}, {1, 32, 32}, 1);
  EXPECT_EQ(parameters_of(*network),
            (std::vector<NameAndShape>{{"layers.0.weight", {16, 1, 3, 3}},
                                       {"layers.0.bias", {16}},
                                       {"layers.1.weight", {32, 16, 4, 4}},
                                       {"layers.1.bias", {32}},
                                       {"layers.2.weight", {64, 32, 4, 4}},
                                       {"layers.2.bias", {64}},
                                       {"layers.3.weight", {128, 64, 4, 4}},
                                       {"layers.3.bias", {128}},
                                       {"layers.4.weight", {1, 128, 4, 4}},
                                       {"layers.4.bias", {1}}}));
  EXPECT_EQ(count_of(*network), 160 + 8224 + 32832 + 131200 + 2049);
  EXPECT_EQ(network->forward_flops(),
            2 * (144 * 1024 + 8192 * 256 + 32768 * 64 + 131072 * 16 + 2048));
}

TEST(EnergyNetwork, ResnetHasBlocksOfThreeLevels) {
  const auto network =
      make_network({.type = EnergyType::resnet, .channels = 4, .blocks = 2}, {3, 8, 8}, 1);
  const std::vector<NameAndShape> parameters = parameters_of(*network);
  const std::vector<NameAndShape> first{{"input.weight", {4, 3, 3, 3}},
                                        {"input.bias", {4}},
                                        {"levels.0.0.first.weight", {8, 4, 3, 3}},
                                        {"levels.0.0.first.bias", {8}},
                                        {"levels.0.0.second.weight", {8, 8, 3, 3}},
                                        {"levels.0.0.second.bias", {8}},
                                        {"levels.0.0.skip.weight", {8, 4, 1, 1}},
                                        {"levels.0.0.skip.bias", {8}},
                                        {"levels.0.1.first.weight", {8, 8, 3, 3}}};
  ASSERT_EQ(parameters.size(), 2U + 3 * (6 + 4) + 2);
  EXPECT_EQ(std::vector<NameAndShape>(parameters.begin(), parameters.begin() + 9), first);
  EXPECT_EQ(parameters.at(parameters.size() - 2), (NameAndShape{"output.weight", {1, 32}}));
  EXPECT_EQ(parameters.back(), (NameAndShape{"output.bias", {1}}));
  EXPECT_EQ(network->forward(at::ones({2, 3, 8, 8}), network->parameter_values()).size(0), 2);
}

TEST(EnergyNetwork, MlpIsTheFormula) {
  const auto silu = [](double z) { return z / (1 + std::exp(-z)); };
  const auto leaky = [](double z) { return z > 0 ? z : 0.1 * z; };
  for (const Activation activation : {Activation::silu, Activation::leaky_relu}) {
    const auto network = make_network(
        {.type = EnergyType::mlp, .activation = activation, .slope = 0.1, .hidden = {2}}, {2}, 1);
    const std::vector<at::Tensor> weights{
        at::tensor({0.5F, -1.0F, 2.0F, 0.25F}).view({2, 2}), at::tensor({0.5F, -3.0F}),
        at::tensor({1.5F, -2.0F}).view({1, 2}), at::tensor({0.75F})};
    const at::Tensor energy =
        network->forward(at::tensor({1.0F, 2.0F, -0.5F, 4.0F}).view({2, 2}), weights);
    const auto expected = [&](double x, double y) {
      const auto f = [&](double z) { return activation == Activation::silu ? silu(z) : leaky(z); };
      return 1.5 * f(0.5 * x - y + 0.5) - 2 * f(2 * x + 0.25 * y - 3) + 0.75;
    };
    EXPECT_NEAR(energy[0].item<double>(), expected(1, 2), 1e-6);
    EXPECT_NEAR(energy[1].item<double>(), expected(-0.5, 4), 1e-6);
  }
}

TEST(EnergyNetwork, ConvnetFitsOddAndOblongImages) {
  const Plan plan = convnet_plan({.channels = 4}, {3, 9, 14});
  EXPECT_EQ(plan.state_shape(), (StateShape{3, 9, 14}));
  ASSERT_EQ(plan.layers.size(), 4U);
  const std::vector<std::array<std::int64_t, 4>> sizes{
      {9, 14, 9, 14}, {9, 14, 4, 7}, {4, 7, 2, 3}, {2, 3, 1, 1}};
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const Layer& layer = plan.layers[i];
    EXPECT_EQ((std::array{layer.height, layer.width, layer.output_height(), layer.output_width()}),
              sizes[i]);
  }
  for (const StateShape& shape :
       {StateShape{1, 8, 8}, {1, 9, 14}, {3, 15, 8}, {2, 17, 23}, {1, 28, 32}}) {
    const auto network = make_network({.channels = 2}, shape, 1);
    const at::Tensor energy =
        network->forward(at::ones({3, shape[0], shape[1], shape[2]}), network->parameter_values());
    EXPECT_EQ(energy.sizes().vec(), std::vector<std::int64_t>{3});
  }
}

TEST(EnergyNetwork, RefusesWhatDoesNotFit) {
  for (const EnergyType type : {EnergyType::convnet, EnergyType::resnet}) {
    const EnergyConfig config{.type = type, .channels = 2};
    EXPECT_EQ(code_of(config, {1, 8, 8}), ExitCode::finished);
    EXPECT_EQ(code_of(config, {1, 7, 32}), ExitCode::configuration);
    EXPECT_EQ(code_of(config, {1, 32, 7}), ExitCode::configuration);
    EXPECT_EQ(code_of(config, {2}), ExitCode::configuration);
  }
  EXPECT_EQ(code_of({.type = EnergyType::mlp}, {2}), ExitCode::finished);
  EXPECT_EQ(code_of({.type = EnergyType::mlp}, {3, 4, 5}), ExitCode::finished);
}

TEST(EnergyNetwork, InitialParametersDependOnTheSeedAlone) {
  const EnergyConfig config{.channels = 4};
  const auto one = make_network(config, {1, 8, 8}, 7), same = make_network(config, {1, 8, 8}, 7),
             other = make_network(config, {1, 8, 8}, 8);
  for (std::size_t i = 0; i < one->parameters().size(); ++i) {
    const at::Tensor& value = one->parameters()[i].value;
    EXPECT_TRUE(at::equal(value, same->parameters()[i].value));
    EXPECT_FALSE(at::equal(value, other->parameters()[i].value));
    EXPECT_TRUE(value.requires_grad() && value.is_leaf());
  }
  // U(−1/√fan_in, 1/√fan_in): the fan-in of the second layer's weights and biases is 4·4·4. The
  // largest of 512 values is below 0.97 of the bound in one of 6 million seeds.
  for (const std::size_t i : {2U, 3U}) {
    const auto largest = one->parameters()[i].value.abs().max().item<double>();
    EXPECT_LE(largest, 0.125);
    EXPECT_GE(largest, i == 2 ? 0.97 * 0.125 : 0.05 * 0.125);
  }
  EXPECT_LT(std::abs(one->parameters()[4].value.mean().item<double>()), 0.002);
}

TEST(EnergySpectral, LargestSingularValueIsOne) {
  for (const EnergyType type : {EnergyType::mlp, EnergyType::convnet, EnergyType::resnet}) {
    const auto network = make_network(
        {.type = type, .channels = 4, .spectral_normalization = true, .hidden = {20, 30}},
        {1, 8, 8}, 3);
    std::vector<std::string> buffers;
    for (const NamedTensor& parameter : network->parameters()) {
      if (parameter.value.dim() > 1) buffers.push_back(parameter.name + "_u");
    }
    ASSERT_EQ(network->buffers().size(), buffers.size());
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      EXPECT_EQ(network->buffers()[i].name, buffers[i]);
      EXPECT_NEAR(network->buffers()[i].value.norm().item<double>(), 1.0, 1e-6);
    }
    // The estimate uᵀWv is never above the true value. After k power iterations it is low by about
    // ln(rows)/(2k) of it, whatever the gap (Kuczynski and Wozniakowski, 1992): 8 % for 32 rows
    // and 20 iterations, 0.5 % after 320.
    for (const double excess : {0.10, 0.01}) {
      const std::vector<at::Tensor> parameters = network->parameter_values();
      const std::vector<at::Tensor> weights = network->weights(parameters);
      for (std::size_t i = 0; i < weights.size(); ++i) {
        if (weights[i].dim() < 2) {
          EXPECT_TRUE(at::equal(weights[i], parameters[i]));
          continue;
        }
        const at::Tensor matrix = weights[i].detach().to(at::kDouble).flatten(1);
        const auto largest = std::get<1>(at::linalg_svd(matrix, false))[0].item<double>();
        EXPECT_GE(largest, 1 - 1e-6);
        EXPECT_LE(largest, 1 + excess) << network->parameters()[i].name;
      }
      for (int i = 0; i < 300; ++i) network->update_buffers();
    }
  }
}

TEST(EnergySpectral, TheGradientFlowsThroughTheNorm) {
  // W/σ(W) does not change when W is scaled, so the gradient has no part along W.
  for (const bool normalized : {true, false}) {
    const auto network = make_network(
        {.type = EnergyType::mlp, .spectral_normalization = normalized, .hidden = {16, 8}}, {6}, 3);
    const std::vector<at::Tensor> parameters = network->parameter_values();
    const at::Tensor x = at::linspace(-1, 1, 30).view({5, 6});
    const at::Tensor loss = network->forward(x, network->weights(parameters)).sum();
    const auto gradients = torch::autograd::grad({loss}, parameters);
    for (std::size_t i = 0; i < parameters.size(); i += 2) {
      const at::Tensor w = parameters[i].detach();
      const double along = (gradients[i] * w).sum().item<double>();
      const double size = (gradients[i].norm() * w.norm()).item<double>();
      if (normalized) {
        EXPECT_LT(std::abs(along), 1e-5 * size);
      } else {
        EXPECT_GT(std::abs(along), 1e-3 * size);
      }
    }
  }
}

TEST(EnergySpectral, OffMeansNoBuffers) {
  const auto network = make_network({.type = EnergyType::mlp}, {2}, 3);
  EXPECT_TRUE(network->buffers().empty());
  const std::vector<at::Tensor> parameters = network->parameter_values();
  const std::vector<at::Tensor> weights = network->weights(parameters);
  for (std::size_t i = 0; i < weights.size(); ++i) EXPECT_TRUE(weights[i].is_same(parameters[i]));
}

}  // namespace
}  // namespace stanley
