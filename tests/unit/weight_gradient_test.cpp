#include "energy/weight_gradient.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "energy/gradient_engine.hpp"
#include "engines/factory.hpp"
#include "engines/gpu_arithmetic.hpp"
#include "kernels/loop_threads.hpp"

namespace stanley {
namespace {

struct NetworkCase {
  StateShape shape;
  std::int64_t channels, batch;
  Activation activation;
  EnergyType type = EnergyType::convnet;
  std::int64_t blocks = 1;  // of a resnet's level
};

std::vector<NetworkCase> network_cases() {
  std::vector<NetworkCase> result;
  for (const Activation activation : {Activation::silu, Activation::leaky_relu}) {
    result.push_back({{1, 8, 8}, 4, 1, activation});
    result.push_back({{3, 9, 14}, 8, 40, activation});
    result.push_back({{2, 19, 37}, 3, 5, activation});
  }
  // A leaky ReLU's derivative jumps at 0: among so many activations one is sure to be rounded
  // across.
  result.push_back({{1, 32, 32}, 16, 17, Activation::silu});
  return result;
}

EnergyConfig config_of(const NetworkCase& one) {
  return {.type = one.type,
          .channels = one.channels,
          .activation = one.activation,
          .slope = 0.2,
          .blocks = std::max<std::int64_t>(one.blocks, 1)};
}

std::unique_ptr<Network> network_of(const NetworkCase& one) {
  auto network = make_network(config_of(one), one.shape, 11);
  const c10::NoGradGuard no_gradient;
  for (NamedTensor& parameter : network->parameters()) parameter.value.mul_(2.0);
  return network;
}

/// A state, constant and slope for each row: the same whatever the batch.
struct Batch {
  at::Tensor state, constant, slope;
};

Batch batch_of(const NetworkCase& one) {
  std::vector<std::int64_t> shape{one.batch};
  shape.insert(shape.end(), one.shape.begin(), one.shape.end());
  const at::Tensor index = at::arange(one.batch * element_count(one.shape), at::kDouble);
  const at::Tensor row = at::arange(one.batch, at::kDouble);
  return {(0.7 * at::sin(index * index * 0.37)).view(shape).to(at::kFloat),
          at::cos(row * 1.7).to(at::kFloat), (0.3 * at::sin(row * 2.3)).to(at::kFloat)};
}

struct Result {
  at::Tensor energy;
  std::vector<at::Tensor> gradients;
};

/// On the network's device; the batch and the result are on the host.
Result evaluate(WeightGradient& gradient, const Batch& batch, at::Device device = at::kCPU) {
  at::Tensor energy = at::empty({batch.state.size(0)}, device);
  auto gradients = gradient.evaluate(batch.state.to(device), batch.constant.to(device),
                                     batch.slope.to(device), energy);
  for (at::Tensor& one : gradients) one = one.cpu();
  return {energy.cpu(), gradients};
}

/// By autograd in double precision: the gradients, and the roots of their states' summed squares.
struct Exact {
  std::vector<at::Tensor> gradients, sizes;
};

Exact exact(const Network& network, const Batch& batch) {
  std::vector<at::Tensor> weights;
  Exact result;
  for (const at::Tensor& value : network.parameter_values()) {
    weights.push_back(value.detach().to(at::kDouble).set_requires_grad(true));
    result.gradients.push_back(at::zeros_like(value, at::kDouble));
    result.sizes.push_back(at::zeros_like(value, at::kDouble));
  }
  for (std::int64_t i = 0; i < batch.state.size(0); ++i) {
    const at::Tensor energy =
        network.forward(batch.state.narrow(0, i, 1).to(at::kDouble), weights).to(at::kDouble);
    const double factor =
        batch.constant[i].item<double>() + batch.slope[i].item<double>() * energy.item<double>();
    const auto gradients = torch::autograd::grad({energy.sum() * factor}, weights);
    for (std::size_t k = 0; k < gradients.size(); ++k) {
      result.gradients[k] = result.gradients[k] + gradients[k].detach();
      result.sizes[k] = result.sizes[k] + gradients[k].detach().square();
    }
  }
  for (at::Tensor& size : result.sizes) size = size.sqrt();
  return result;
}

double root_mean_square(const at::Tensor& values) {
  return values.square().mean().sqrt().item<double>();
}

/// A state's share is a sum of products of activations and gradients, each of which is wrong by at
/// most 2e-5 of its size (GradientEngine's analysis of the same passes), independently.
TEST(WeightGradient, IsExactButForRounding) {
  for (const NetworkCase& one : network_cases()) {
    const auto network = network_of(one);
    const Batch batch = batch_of(one);
    const Exact expected = exact(*network, batch);
    for (const bool own : {true, false}) {
      const auto gradient =
          own ? make_weight_gradient(*network, config_of(one), Precision::float32, at::kCPU)
              : make_autograd_weight_gradient(*network);
      gradient->load(network->parameter_values());
      const Result found = evaluate(*gradient, batch);
      ASSERT_EQ(found.gradients.size(), expected.gradients.size());
      for (std::size_t k = 0; k < found.gradients.size(); ++k) {
        ASSERT_EQ(found.gradients[k].sizes(), expected.gradients[k].sizes());
        EXPECT_LT(root_mean_square(found.gradients[k] - expected.gradients[k]),
                  4e-5 * root_mean_square(expected.sizes[k]))
            << network->parameters()[k].name << (own ? " own " : " autograd ")
            << testing::PrintToString(one.shape);
      }
      const at::Tensor energy = network->forward(batch.state, network->parameter_values()).detach();
      EXPECT_LT((found.energy - energy).abs().max().item<double>(), 1e-4);
    }
  }
}

/// So many states go through autograd in parts.
TEST(WeightGradient, OfManyStatesIsExactButForRounding) {
  const NetworkCase one{{1, 16, 32}, 2, 700, Activation::silu};
  const auto network = network_of(one);
  const Batch batch = batch_of(one);
  const auto gradient = make_autograd_weight_gradient(*network);
  gradient->load(network->parameter_values());
  const Result found = evaluate(*gradient, batch);
  const Exact expected = exact(*network, batch);
  for (std::size_t k = 0; k < found.gradients.size(); ++k) {
    EXPECT_LT(root_mean_square(found.gradients[k] - expected.gradients[k]),
              4e-5 * root_mean_square(expected.sizes[k]))
        << network->parameters()[k].name;
  }
  const at::Tensor energy = network->forward(batch.state, network->parameter_values()).detach();
  EXPECT_LT((found.energy - energy).abs().max().item<double>(), 1e-4);
}

/// `gradient` is of this network and case.
void expect_the_same_for_any_threads(WeightGradient& gradient, const Network& network,
                                     const NetworkCase& one) {
  gradient.load(network.parameter_values());
  const Batch batch = batch_of(one);
  const Result expected = evaluate(gradient, batch);
  Batch poisoned = batch;
  poisoned.state = at::full_like(batch.state, std::nan(""));
  const Batch none{batch.state.narrow(0, 0, 0), batch.constant.narrow(0, 0, 0),
                   batch.slope.narrow(0, 0, 0)};
  for (const int threads : {1, 2, 3}) {
    const LoopThreads these(threads);
    EXPECT_TRUE(evaluate(gradient, poisoned).gradients[0].isnan().all().item<bool>());
    for (const at::Tensor& zeros : evaluate(gradient, none).gradients) {
      EXPECT_TRUE((zeros == 0).all().item<bool>());
    }
    const Result found = evaluate(gradient, batch);
    EXPECT_TRUE(at::equal(found.energy, expected.energy));
    for (std::size_t k = 0; k < found.gradients.size(); ++k) {
      EXPECT_TRUE(at::equal(found.gradients[k], expected.gradients[k])) << threads << ' ' << k;
    }
  }
}

TEST(WeightGradient, DoesNotDependOnThreadsOrOnEarlierCalls) {
  NetworkCase one{{1, 16, 16}, 8, 90, Activation::silu};
  const auto convnet = network_of(one);
  expect_the_same_for_any_threads(*make_winograd_weight_gradient(*convnet->plan()), *convnet, one);
  expect_the_same_for_any_threads(*make_amx_weight_gradient(*convnet->plan()), *convnet, one);
  one.type = EnergyType::resnet;
  const auto resnet = network_of(one);
  expect_the_same_for_any_threads(*make_winograd_weight_gradient(*resnet->plan()), *resnet, one);
  expect_the_same_for_any_threads(*make_amx_weight_gradient(*resnet->plan()), *resnet, one);
}

/// Parts of `size` states, which are all of `batch`: alone by one thread, and together by more.
void expect_parts_like_alone(WeightGradient& gradient, const Batch& batch, std::int64_t size) {
  const std::int64_t parts = batch.state.size(0) / size;
  const auto of_part = [&](const at::Tensor& all, std::int64_t part) {
    return all.narrow(0, part * size, size);
  };
  std::vector<Result> alone;
  for (std::int64_t part = 0; part < parts; ++part) {
    alone.push_back(evaluate(gradient, {of_part(batch.state, part), of_part(batch.constant, part),
                                        of_part(batch.slope, part)}));
  }
  for (const int threads : {1, 2, 3}) {
    const LoopThreads these(threads);
    at::Tensor energy = at::empty_like(batch.constant);
    std::int64_t next = 0;
    gradient.evaluate_parts(parts, batch.state, batch.constant, batch.slope, energy,
                            [&](std::int64_t part, const std::vector<at::Tensor>& gradients) {
                              EXPECT_EQ(part, next++);
                              const Result& one = alone[static_cast<std::size_t>(part)];
                              for (std::size_t k = 0; k < gradients.size(); ++k) {
                                EXPECT_TRUE(at::equal(gradients[k], one.gradients[k]))
                                    << size << " states, " << threads << " threads";
                              }
                            });
    EXPECT_EQ(next, parts);
    for (std::int64_t part = 0; part < parts; ++part) {
      EXPECT_TRUE(at::equal(of_part(energy, part), alone[static_cast<std::size_t>(part)].energy));
    }
  }
}

TEST(WeightGradient, PartsThatShareTheThreadsAreLikeAlone) {
  for (const EnergyType type : {EnergyType::convnet, EnergyType::resnet}) {
    for (const auto& [size, parts] :
         {std::pair<std::int64_t, std::int64_t>{1, 5}, {16, 4}, {33, 3}, {290, 1}}) {
      NetworkCase one{{1, 8, 8}, 2, size * parts, Activation::silu};
      one.type = type;
      const auto network = network_of(one);
      for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
        const auto gradient =
            precision == Precision::bfloat16
                ? make_amx_weight_gradient(*network->plan())
                : make_weight_gradient(*network, config_of(one), precision, at::kCPU);
        gradient->load(network->parameter_values());
        expect_parts_like_alone(*gradient, batch_of(one), size);
      }
    }
  }
  NetworkCase mlp{{6}, 8, 15, Activation::silu};
  mlp.type = EnergyType::mlp;
  const auto network = network_of(mlp);
  const auto gradient = make_autograd_weight_gradient(*network);
  gradient->load(network->parameter_values());
  expect_parts_like_alone(*gradient, batch_of(mlp), 5);
}

/// With errors of 2e-5 or of a fifth in each share, as in the first test and as in those of the
/// engines in bfloat16. `tiles`: the tiles' gradient, whatever the processor has.
void expect_exact_but_for_rounding(const NetworkCase& one, Precision precision, at::Device device,
                                   bool tiles = false) {
  const double error = precision == Precision::bfloat16 ? 0.2 : 2e-5;
  const auto network = network_of(one);
  const Batch batch = batch_of(one);
  const Exact expected = exact(*network, batch);
  std::vector<at::Tensor> weights;
  for (const at::Tensor& value : network->parameter_values()) {
    weights.push_back(value.detach().to(device));
  }
  const auto gradient = tiles ? make_amx_weight_gradient(*network->plan())
                              : make_weight_gradient(*network, config_of(one), precision, device);
  gradient->load(weights);
  const Result found = evaluate(*gradient, batch, device);
  const at::Tensor energy = network->forward(batch.state, network->parameter_values()).detach();
  EXPECT_LT(root_mean_square(found.energy - energy), error * (1 + root_mean_square(energy)))
      << testing::PrintToString(one.shape);
  for (std::size_t k = 0; k < found.gradients.size(); ++k) {
    EXPECT_EQ(found.gradients[k].scalar_type(), at::kFloat);
    EXPECT_LT(root_mean_square(found.gradients[k] - expected.gradients[k]),
              2 * error * root_mean_square(expected.sizes[k]))
        << network->parameters()[k].name << ' ' << testing::PrintToString(one.shape);
  }
}

TEST(WeightGradient, OfTheResnetIsExactButForRounding) {
  for (NetworkCase one : network_cases()) {
    one.type = EnergyType::resnet;
    for (one.blocks = 1; one.blocks <= 2; ++one.blocks) {
      expect_exact_but_for_rounding(one, Precision::float32, at::kCPU);
    }
  }
}

TEST(WeightGradient, IsExactButForRoundingOfBfloat16) {
  for (NetworkCase one : network_cases()) {
    for (one.blocks = 0; one.blocks <= 2; ++one.blocks) {
      one.type = one.blocks == 0 ? EnergyType::convnet : EnergyType::resnet;
      for (const bool tiles : {true, false}) {
        expect_exact_but_for_rounding(one, Precision::bfloat16, at::kCPU, tiles);
      }
    }
  }
}

TEST(WeightGradient, IsExactButForRoundingOnAGpu) {
  if (at::getNumGPUs() == 0) GTEST_SKIP() << "no GPU";
  choose_gpu_arithmetic();
  for (const NetworkCase& one : network_cases()) {
    for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
      expect_exact_but_for_rounding(one, precision, at::kCUDA);
    }
  }
}

}  // namespace
}  // namespace stanley
