#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "train/account.hpp"
#include "train/band.hpp"
#include "train/objective.hpp"
#include "train/optimizer.hpp"

namespace stanley {
namespace {

std::unique_ptr<Network> mlp(std::vector<std::int64_t> hidden = {7, 5}) {
  return make_network({.type = EnergyType::mlp, .hidden = std::move(hidden)}, {2}, 4);
}

/// A gradient that changes from update to update, about 1 in size.
at::Tensor gradient_at(std::int64_t iteration, std::int64_t size) {
  return at::sin(at::arange(size, at::kFloat) * 0.7 + static_cast<double>(iteration));
}

// --- optimiser ----------------------------------------------------------------------------------

/// The optimiser in double precision, written from the papers.
struct Plain {
  OptimizerConfig config;
  at::Tensor values, first, second, average_sum;
  double average_weight = 0;

  double update(at::Tensor gradient, std::int64_t iteration, double factor) {
    gradient = gradient.to(at::kDouble);
    const double norm = std::sqrt(gradient.square().sum().item<double>());
    if (config.gradient_clip) gradient = gradient * std::min(1.0, *config.gradient_clip / norm);
    const double rate = config.learning_rate * factor;
    const auto t = static_cast<double>(iteration + 1);
    if (config.type == OptimizerType::sgd) {
      first = config.momentum * first + gradient;
      values = values - rate * first;
    } else {
      const auto [beta1, beta2] = config.betas;
      first = beta1 * first + (1 - beta1) * gradient;
      second = beta2 * second + (1 - beta2) * gradient.square();
      values = values - rate * (first / (1 - std::pow(beta1, t))) /
                            ((second / (1 - std::pow(beta2, t))).sqrt() + config.epsilon);
    }
    // Σ (1−d)·d^(t−s)·θ_s / Σ (1−d)·d^(t−s)
    average_sum = config.average * average_sum + (1 - config.average) * values;
    average_weight = config.average * average_weight + (1 - config.average);
    return norm;
  }
};

void expect_like_plain(const OptimizerConfig& config) {
  const auto network = mlp();
  Optimizer optimizer(config, *network, at::kCPU);
  const at::Tensor zeros = at::zeros({optimizer.size()}, at::kDouble);
  Plain plain{config, optimizer.values().to(at::kDouble), zeros, zeros, zeros};
  for (std::int64_t i = 0; i < 12; ++i) {
    at::Tensor gradient = gradient_at(i, optimizer.size()) * (i % 3 == 0 ? 3.0 : 0.2);
    const double factor = 1.0 / static_cast<double>(1 + i);
    const double expected = plain.update(gradient.clone(), i, factor);
    EXPECT_NEAR(optimizer.update(gradient, i, factor), expected, 1e-5 * expected);
    EXPECT_LT((optimizer.values() - plain.values).abs().max().item<double>(), 2e-6);
    EXPECT_LT(
        (optimizer.average() - plain.average_sum / plain.average_weight).abs().max().item<double>(),
        2e-6);
    EXPECT_NEAR(optimizer.parameter_norm(), plain.values.norm().item<double>(), 1e-5);
  }
}

TEST(TrainOptimizer, AdamIsTheFormula) {
  expect_like_plain({.learning_rate = 0.05, .betas = {0.9, 0.999}});
  expect_like_plain({.learning_rate = 0.05, .betas = {0.0, 0.99}, .average = 0.5});
  expect_like_plain({.learning_rate = 0.05, .betas = {0.5, 0.9}, .epsilon = 0.1, .average = 0.0});
  expect_like_plain(
      {.learning_rate = 0.05, .betas = {0.9, 0.99}, .epsilon = 0.1, .gradient_clip = 2.0});
}

TEST(TrainOptimizer, SgdIsTheFormula) {
  expect_like_plain({.type = OptimizerType::sgd, .learning_rate = 0.05});
  expect_like_plain(
      {.type = OptimizerType::sgd, .learning_rate = 0.05, .momentum = 0.9, .gradient_clip = 1.0});
}

TEST(TrainOptimizer, ParametersAreViewsOfOneVector) {
  const auto network = mlp();
  const auto before = mlp();
  Optimizer optimizer({}, *network, at::kCPU);
  std::int64_t offset = 0;
  ASSERT_EQ(optimizer.slices().size(), network->parameters().size());
  for (std::size_t i = 0; i < optimizer.slices().size(); ++i) {
    const NamedTensor& parameter = network->parameters()[i];
    const ParameterSlice& slice = optimizer.slices()[i];
    EXPECT_EQ(slice.name, parameter.name);
    EXPECT_EQ(slice.offset, offset);
    EXPECT_TRUE(at::equal(parameter.value, before->parameters()[i].value));
    EXPECT_EQ(parameter.value.const_data_ptr<float>(),
              optimizer.values().const_data_ptr<float>() + offset);
    EXPECT_TRUE(parameter.value.requires_grad() && parameter.value.is_leaf());
    offset += slice.count;
  }
  EXPECT_EQ(offset, optimizer.size());
  at::Tensor gradient = at::ones({optimizer.size()});
  optimizer.update(gradient, 0, 1.0);
  EXPECT_FALSE(at::equal(network->parameters()[0].value, before->parameters()[0].value));
}

// --- objective ----------------------------------------------------------------------------------

Config objective_config(double penalty) {
  Config config;
  config.data.batch = 6;
  config.chains.active = 10;
  config.objective.energy_penalty = penalty;
  config.energy.type = EnergyType::mlp;
  return config;
}

at::Tensor points(std::int64_t n, double shift) {
  return (at::cos(at::arange(2 * n, at::kFloat) * 1.3) + shift).view({n, 2});
}

CountedChains ten_chains() { return CountedChains::every_one(10, 10, at::kCPU); }

TEST(TrainObjective, WhereNoChainIsPastItsBurnInAllCount) {
  ChainsConfig config;
  config.active = 3;
  config.burn_in = 100;
  const auto world = make_local_communicator();
  CountedChains counted = count_chains({99, 0, 40}, config, *world, at::kCPU);
  EXPECT_EQ(counted.all, 3);
  EXPECT_EQ(counted.mine.sum().item<double>(), 3);
  counted = count_chains({99, 100, 40}, config, *world, at::kCPU);
  EXPECT_EQ(counted.all, 1);
  EXPECT_EQ(counted.mine[1].item<double>(), 1);
  EXPECT_EQ(counted.mine.sum().item<double>(), 1);
}

TEST(TrainObjective, IsTheGradientOfTheContrastiveLoss) {
  for (const auto& [penalty, burn_in] :
       std::vector<std::pair<double, std::int64_t>>{{0.0, 0}, {0.01, 0}, {2.0, 0}, {0.3, 10}}) {
    const auto network = mlp();
    ContrastiveObjective objective(objective_config(penalty), *network, Precision::float32,
                                   at::kCPU);
    objective.load();
    const at::Tensor data = points(6, 0.5), all_chains = points(10, -1.0);
    at::Tensor gradient = at::zeros({1, 2 * 7 + 7 + 7 * 5 + 5 + 5 + 1});
    // Chains 1, 4, 5 and 8 are past the burn-in.
    const std::vector<std::int64_t> ages{3, 20, 0, 5, 10, 11, 9, 1, 400, 2};
    ChainsConfig burning = objective_config(penalty).chains;
    burning.burn_in = burn_in;
    const at::Tensor chains =
        burn_in > 0 ? all_chains.index_select(0, at::tensor({1, 4, 5, 8}, at::kLong)) : all_chains;
    const EnergySums sums = objective.add_up(
        data, all_chains, count_chains(ages, burning, *make_local_communicator(), at::kCPU), {},
        gradient);

    std::vector<at::Tensor> weights;
    for (const at::Tensor& value : network->parameter_values()) {
      weights.push_back(value.detach().to(at::kDouble).set_requires_grad(true));
    }
    const at::Tensor of_data = network->forward(data.to(at::kDouble), weights).to(at::kDouble);
    const at::Tensor of_chains = network->forward(chains.to(at::kDouble), weights).to(at::kDouble);
    const at::Tensor loss = of_data.mean() - of_chains.mean() +
                            penalty * (of_data.square().mean() + of_chains.square().mean());
    std::vector<at::Tensor> expected;
    for (const at::Tensor& part : torch::autograd::grad({loss}, weights)) {
      expected.push_back(part.flatten());
    }
    const at::Tensor flat = at::cat(expected);
    EXPECT_LT((gradient - flat).abs().max().item<double>(), 1e-5 * flat.abs().max().item<double>());
    EXPECT_NEAR(sums.data, of_data.sum().item<double>(), 1e-5);
    EXPECT_NEAR(sums.chains, of_chains.sum().item<double>(), 1e-5);
    EXPECT_NEAR(sums.data_squared, of_data.square().sum().item<double>(), 1e-5);
    EXPECT_NEAR(sums.chains_squared, of_chains.square().sum().item<double>(), 1e-5);
    for (const NamedTensor& parameter : network->parameters()) {
      EXPECT_FALSE(parameter.value.grad().defined());
    }
  }
}

TEST(TrainObjective, FollowsFiniteDifferences) {
  const auto network = mlp();
  const Config config = objective_config(0.3);
  ContrastiveObjective objective(config, *network, Precision::float32, at::kCPU);
  const at::Tensor data = points(6, 0.5), chains = points(10, -1.0);
  at::Tensor gradient = at::zeros({1, 2 * 7 + 7 + 7 * 5 + 5 + 5 + 1}), unused = gradient.clone();
  objective.load();
  objective.add_up(data, chains, ten_chains(), {}, gradient);
  const auto loss = [&] {
    objective.load();
    const EnergySums s = objective.add_up(data, chains, ten_chains(), {}, unused);
    return s.data / 6 - s.chains / 10 + 0.3 * (s.data_squared / 6 + s.chains_squared / 10);
  };
  std::int64_t offset = 0;
  for (NamedTensor& parameter : network->parameters()) {
    auto* value = static_cast<float*>(parameter.value.mutable_data_ptr());
    const float kept = *value;
    *value = kept + 0.01F;
    const double above = loss();
    *value = kept - 0.01F;
    const double below = loss();
    *value = kept;
    // Third derivatives of order 1 times h²/6, and float32 energies over 2h.
    EXPECT_NEAR(gradient[0][offset].item<double>(), (above - below) / 0.02, 2e-4) << parameter.name;
    offset += parameter.value.numel();
  }
}

TEST(TrainObjective, AddsTheEnergiesOfOtherStatesWithTheirFactors) {
  const auto network = mlp();
  ContrastiveObjective objective(objective_config(0.3), *network, Precision::float32, at::kCPU);
  objective.load();
  const at::Tensor data = points(6, 0.5), chains = points(10, -1.0), others = points(4, 0.1);
  const at::Tensor factors = at::tensor({2.0, -1.0, 0.5, 0.25}, at::kFloat);
  at::Tensor with = at::zeros({2, 2 * 7 + 7 + 7 * 5 + 5 + 5 + 1}), without = with.clone();
  const EnergySums sums = objective.add_up(data, chains, ten_chains(), {others, factors}, with);
  EXPECT_EQ(sums.data, objective.add_up(data, chains, ten_chains(), {}, without).data);

  std::vector<at::Tensor> weights;
  for (const at::Tensor& value : network->parameter_values()) {
    weights.push_back(value.detach().to(at::kDouble).set_requires_grad(true));
  }
  for (const std::int64_t part : {0, 1}) {  // each part has its own two of them
    const at::Tensor states = others.narrow(0, 2 * part, 2).to(at::kDouble);
    const at::Tensor energy =
        (network->forward(states, weights) * factors.narrow(0, 2 * part, 2)).sum();
    std::vector<at::Tensor> expected;
    for (const at::Tensor& one : torch::autograd::grad({energy}, weights)) {
      expected.push_back(one.flatten());
    }
    const at::Tensor flat = at::cat(expected);
    EXPECT_LT((with[part] - without[part] - flat).abs().max().item<double>(),
              1e-5 * flat.abs().max().item<double>());
  }
}

TEST(TrainObjective, PartsAddUpToTheWhole) {
  const auto network = mlp();
  ContrastiveObjective objective(objective_config(0.5), *network, Precision::float32, at::kCPU);
  objective.load();
  const at::Tensor data = points(6, 0.5), chains = points(10, -1.0);
  at::Tensor whole = at::zeros({1, 2 * 7 + 7 + 7 * 5 + 5 + 5 + 1}), sum = whole.clone();
  const EnergySums all = objective.add_up(data, chains, ten_chains(), {}, whole);
  EnergySums added;
  for (const std::int64_t part : {0, 1}) {
    at::Tensor one = at::full_like(whole, 99.0);  // overwritten, not added to
    added += objective.add_up(data.narrow(0, 3 * part, 3), chains.narrow(0, 5 * part, 5),
                              CountedChains::every_one(5, 10, at::kCPU), {}, one);
    sum += one;
  }
  EXPECT_LT((sum - whole).abs().max().item<double>(), 1e-6);
  EXPECT_NEAR(added.data, all.data, 1e-5);
  EXPECT_NEAR(added.chains, all.chains, 1e-5);
  EXPECT_NEAR(added.data_squared, all.data_squared, 1e-5);
  EXPECT_NEAR(added.chains_squared, all.chains_squared, 1e-5);
}

// --- gap ----------------------------------------------------------------------------------------

TEST(TrainGap, IsTheWeightedAutocorrelation) {
  constexpr double w = 0.02;
  std::vector<double> gaps;
  GapStatistics statistics;
  for (int t = 0; t < 120; ++t) {
    gaps.push_back(std::sin(0.9 * t) + 0.01 * t);
    const double found = statistics.add(gaps.back());
    if (t < 2) {
      EXPECT_TRUE(std::isnan(found));
      continue;
    }
    // Deviations from the mean of the gaps before, weighted w·(1 − w)^(t − s).
    const auto mean_to = [&](int last) {
      double mean = gaps[0] * std::pow(1 - w, last);
      for (int s = 1; s <= last; ++s) {
        mean += w * std::pow(1 - w, last - s) * gaps[static_cast<std::size_t>(s)];
      }
      return mean;
    };
    double variance = 0, covariance = 0;
    for (int s = 1; s <= t; ++s) {
      const double mean = mean_to(s - 1), now = gaps[static_cast<std::size_t>(s)] - mean;
      variance += w * std::pow(1 - w, t - s) * now * now;
      covariance +=
          w * std::pow(1 - w, t - s) * now * (gaps[static_cast<std::size_t>(s - 1)] - mean);
    }
    EXPECT_NEAR(found, covariance / variance, 1e-9);
  }
}

TEST(TrainGap, ASwingingGapIsStronglyNegative) {
  GapStatistics swinging, slow;
  double negative = 0, positive = 0;
  for (int t = 0; t < 300; ++t) {
    negative = swinging.add(5 + (t % 2 == 0 ? 1 : -1));
    positive = slow.add(std::sin(0.05 * t));
  }
  EXPECT_LT(negative, -0.9);
  EXPECT_GT(positive, 0.9);
}

// --- account ------------------------------------------------------------------------------------

TEST(Account, AStateThatIsNoNumberIsSeen) {
  Config config;
  config.chains.active = 2;
  config.data.batch = 2;
  for (const double value : {0.5, std::nan(""), std::numeric_limits<double>::infinity()}) {
    at::Tensor after = at::arange(6, at::kFloat).view({2, 3});
    after[1][2] = value;
    Activity activity;
    const std::vector<Column> none;
    Account account(config, none, activity, at::kCPU);
    account.enter("reduction", &IterationRecord::seconds_reduction);
    account.chains_start(at::zeros({2, 3}));
    account.summarize(after, {1, 1}, 0, *make_local_communicator());
    const IterationRecord record = account.close(1);
    EXPECT_EQ(std::isfinite(record.chain_scale), std::isfinite(value)) << value;
    EXPECT_EQ(std::isfinite(record.chain_spread), std::isfinite(value)) << value;
  }
}

}  // namespace
}  // namespace stanley
