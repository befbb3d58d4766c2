#include "sampler/transition.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "chains/bank.hpp"
#include "config/error.hpp"
#include "energy/network.hpp"
#include "engines/factory.hpp"
#include "parallel/communicator.hpp"
#include "run/metrics.hpp"
#include "sampler/device_update.hpp"
#include "sampler/pieces.hpp"
#include "storage/checkpoint.hpp"
#include "train/account.hpp"
#include "train/optimizer.hpp"
#include "unit/evaluated.hpp"

// What a transition and an energy that are not the program's need in order to join: a target with a
// known answer and a random walk, which exist here alone.

namespace stanley {
namespace {

const at::Device cpu(at::kCPU);

/// E(x) = k·|x − c|²/2 with c the condition: a Gaussian of variance T/k around a centre of each
/// chain. It has no parameters.
class GaussianTarget : public Network {
 public:
  GaussianTarget(double stiffness, StateShape shape)
      : Network(std::move(shape)), stiffness_(stiffness) {}
  bool conditional() const override { return true; }
  at::Tensor forward(const Points& points, const std::vector<at::Tensor>&) const override {
    const at::Tensor centre = points.condition.to(points.state.scalar_type()).unsqueeze(1);
    return stiffness_ / 2 * (points.state - centre).square().sum(1);
  }

 private:
  double stiffness_;
};

/// Metropolis' random walk: it needs energies but no gradients, and remembers how often each chain
/// moved and where it was before its last step.
class RandomWalk : public Transition {
 public:
  RandomWalk(double scale, double temperature) : scale_(scale), temperature_(temperature) {}

  std::vector<Memory> memory() const override {
    return {{.name = "moves", .type = at::kLong},
            {.name = "previous", .like_state = true, .start = -1}};
  }

  const std::vector<Column>& columns() const override { return columns_; }

  std::int64_t gradients(std::int64_t) const override { return 0; }

  at::Tensor advance(GradientEngine& engine, ChainBatch& batch, std::uint64_t first_step,
                     std::int64_t steps) override {
    const std::int64_t n = batch.state.size(0);
    at::Tensor energy = at::empty({n}, at::kDouble), other = at::empty({n}, at::kDouble);
    at::Tensor accepted = at::zeros({n}, at::kDouble), distance = at::zeros({n}, at::kDouble);
    engine.evaluate(batch.points(), energy, nullptr);
    for (std::int64_t k = 0; k < steps; ++k) {
      const std::uint64_t step = first_step + static_cast<std::uint64_t>(k);
      ChainBatch proposal{at::empty_like(batch.state), batch.ids, batch.condition};
      fill_normal({.seed = 3}, step, static_cast<float>(scale_), proposal);
      proposal.state.add_(batch.state);
      engine.evaluate(proposal.points(), other, nullptr);
      for (std::int64_t i = 0; i < n; ++i) {
        const auto id = static_cast<std::uint32_t>(batch.ids[i].item<std::int64_t>());
        const double u =
            random::uniform_double({.seed = 3, .stream = random::Stream::acceptance}, id, step);
        const double change = other[i].item<double>() - energy[i].item<double>();
        batch.memory[1][i].copy_(batch.state[i]);
        if (std::log(u) >= -change / temperature_) continue;
        distance[i].add_((proposal.state[i] - batch.state[i]).norm().to(at::kDouble));
        batch.state[i].copy_(proposal.state[i]);
        energy[i].copy_(other[i]);
        batch.memory[0][i].add_(1);
        accepted[i].add_(1.0 / static_cast<double>(steps));
      }
    }
    return at::stack({accepted, distance});
  }

 private:
  double scale_, temperature_;
  std::vector<Column> columns_{{"acceptance_rate"}, {"distance_walked"}};
};

std::unique_ptr<GradientEngine> engine_of(const Network& network) {
  auto engine = make_autograd_engine(network, Precision::float32, cpu);
  engine->load(network.weights(network.parameter_values()));
  return engine;
}

ChainBatch chains_of(const Transition& transition, std::int64_t n, std::int64_t d) {
  ChainBatch batch{at::zeros({n, d}), at::arange(n, at::kLong), at::arange(n, at::kLong) % 3};
  batch.memory = start_memory(transition.memory(), batch.state);
  return batch;
}

TEST(Transition, ARandomWalkOnAConditionalGaussianHasItsLaw) {
  // Null hypothesis: after 300 steps each state is from N(c, T/k), chains and elements independent.
  // Their mean and variance are within 4.42 standard deviations: false alarm 2e-5 for both. Without
  // the acceptance the variance would be 300 steps' noise, far outside.
  constexpr double k = 2, temperature = 0.5, z = 4.42;
  const GaussianTarget target(k, {2});
  const auto engine = engine_of(target);
  RandomWalk walk(0.8, temperature);
  ChainBatch batch = chains_of(walk, 400, 2);
  const at::Tensor statistics = walk.advance(*engine, batch, 0, 300);
  const at::Tensor apart = batch.state.to(at::kDouble) - batch.condition.unsqueeze(1);
  const double n = 800, variance = temperature / k;
  EXPECT_LT(std::abs(apart.mean().item<double>()), z * std::sqrt(variance / n));
  EXPECT_LT(std::abs(apart.square().mean().item<double>() - variance),
            z * variance * std::sqrt(2 / n));
  // What it remembers is what it tells.
  EXPECT_NEAR(sums_of(statistics)[0] * 300, batch.memory[0].sum().item<double>(), 1e-6);
  EXPECT_GT(column_number(walk, "distance_walked"), column_number(walk, "acceptance_rate"));
  EXPECT_THROW(column_number(walk, "gain_q10"), std::out_of_range);
}

TEST(Transition, PiecesCarryConditionAndMemory) {
  const GaussianTarget target(1.0, {3});
  const auto engine = engine_of(target);
  const auto make = [] { return std::make_unique<RandomWalk>(0.5, 1.0); };
  const auto whole = make();
  const auto pieces = make_piecewise_transition({.most = 4}, make);
  ChainBatch together = chains_of(*whole, 11, 3), cut = chains_of(*pieces, 11, 3);
  ASSERT_EQ(cut.memory.size(), 2u);
  const at::Tensor one = whole->advance(*engine, together, 5, 7);
  const at::Tensor other = pieces->advance(*engine, cut, 5, 7);
  EXPECT_TRUE(at::equal(one, other));
  EXPECT_TRUE(at::equal(together.state, cut.state));
  for (std::size_t i = 0; i < 2; ++i) EXPECT_TRUE(at::equal(together.memory[i], cut.memory[i]));
  EXPECT_FALSE(at::equal(together.memory[1], at::full({11, 3}, -1.0)));
}

/// Eight chains with what the random walk remembers and a condition, those of one shard of two.
Bank bank_of(std::uint32_t seed = 1) {
  const ChainsConfig config{.total = 16, .active = 8, .shards = 2};
  return {
      config, {3}, {.total = 2, .first = 1, .count = 1}, seed, 0, cpu, RandomWalk(1, 1).memory(),
      true};
}

void start(ChainBatch& batch, std::int64_t iteration) {
  batch.state.fill_(static_cast<double>(100 + iteration));
  batch.condition.copy_(batch.ids * 2);
}

TEST(Transition, TheBankKeepsWhatChainsRemember) {
  Bank bank = bank_of();
  bank.start_all(start);
  std::vector<std::int64_t> seen(8, 0);
  for (std::int64_t iteration = 0; iteration < 4; ++iteration) {
    ChainBatch batch = bank.visit(iteration, 0.0, start);
    EXPECT_TRUE(at::equal(batch.condition, batch.ids * 2));
    for (std::int64_t i = 0; i < 4; ++i) {
      auto& count = seen[static_cast<std::size_t>(batch.ids[i].item<std::int64_t>() - 8)];
      EXPECT_EQ(batch.memory[0][i].item<std::int64_t>(), count++);
    }
    batch.memory[0].add_(1);
    batch.memory[1].copy_(batch.state);
    bank.put_back(batch, 1);
  }
  EXPECT_EQ(seen, std::vector<std::int64_t>(8, 2));
  // A restart forgets.
  const ChainBatch anew = bank.visit(4, 1.0, start);
  EXPECT_TRUE(at::equal(anew.memory[0], at::zeros({4}, at::kLong)));
  EXPECT_TRUE(at::equal(anew.memory[1], at::full({4, 3}, -1.0)));
  EXPECT_TRUE(at::equal(anew.state, at::full({4, 3}, 104.0)));
}

TEST(Transition, ACheckpointKeepsWhatChainsRemember) {
  Bank bank = bank_of();
  bank.start_all(start);
  ChainBatch batch = bank.visit(0, 0.0, start);
  batch.memory[0].copy_(batch.ids);
  batch.memory[1].copy_(batch.ids.unsqueeze(1).expand({4, 3}));
  bank.put_back(batch, 1);

  std::vector<std::string> names;
  for (const ArrayView& view : bank.arrays()) {
    names.push_back(view.name);
    EXPECT_EQ(view.shape[0], 16) << view.name;
    EXPECT_EQ(bank.is_memory(view.name),
              view.name == "chains/moves" || view.name == "chains/previous");
  }
  EXPECT_EQ(names,
            (std::vector<std::string>{"chains/state", "chains/age", "chains/restarts",
                                      "chains/condition", "chains/moves", "chains/previous"}));
  // From one bank to another, as a snapshot and a reading do it.
  Snapshot snapshot;
  snapshot.take(bank.arrays());
  Bank other = bank_of();
  const std::vector<ArrayView> to = other.arrays();
  for (std::size_t i = 0; i < to.size(); ++i) {
    std::memcpy(to[i].data, snapshot.arrays()[i].data, local_bytes(to[i]));
  }
  const ChainBatch expected = bank.visit(2, 0.0, start), found = other.visit(2, 0.0, start);
  EXPECT_TRUE(at::equal(found.state, expected.state));
  EXPECT_TRUE(at::equal(found.condition, expected.condition));
  EXPECT_TRUE(at::equal(found.memory[0], expected.memory[0]));
  EXPECT_TRUE(at::equal(found.memory[1], expected.memory[1]));
  EXPECT_GT(found.memory[0].sum().item<std::int64_t>(), 0);
}

TEST(Transition, ColumnsReachMetricsByName) {
  EXPECT_EQ(more_columns({"gain_q10", "distance_walked", "acceptance_rate"}),
            std::vector<std::string>{"distance_walked"});
  Config config;
  config.chains.active = 4;
  const std::vector<Column> columns{{"acceptance_rate"}, {"walked", 2}, {""}};
  Activity activity;
  const auto alone = make_local_communicator();
  Account account(config, columns, activity, cpu);
  account.enter("chains", &IterationRecord::seconds_chains);
  const at::Tensor state = at::zeros({4, 2});
  account.chains_start(state);
  account.chains_move(
      at::tensor({1.0, 0.0, 0.5, 0.5, 3.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 6.0}, at::kDouble)
          .view({3, 4}));
  account.enter("reduction", &IterationRecord::seconds_reduction);
  account.summarize(state, {1, 1, 1, 1}, 0, *alone);
  const IterationRecord record = account.close(1);
  EXPECT_EQ(record.acceptance_rate, 0.5);
  ASSERT_EQ(record.more.size(), 1u);
  EXPECT_EQ(record.more[0], (std::pair<std::string, double>("walked", 6.0 / 12.0)));
  EXPECT_TRUE(std::isnan(record.gain_q50));  // nobody told it
  const std::string heading = metrics_heading({"walked"}), row = to_csv(record);
  EXPECT_TRUE(heading.ends_with(",walked\n"));
  EXPECT_TRUE(row.ends_with(",0.5\n"));
  EXPECT_EQ(std::ranges::count(heading, ','), std::ranges::count(row, ','));
}

TEST(Transition, ANetworkWithoutParametersHasNothingToLearn) {
  GaussianTarget target(1.0, {2});
  Optimizer optimizer({}, target, cpu);
  EXPECT_EQ(optimizer.size(), 0);
  at::Tensor gradient = at::zeros({0});
  EXPECT_EQ(optimizer.update(gradient, 0, 1.0), 0.0);
  EXPECT_EQ(optimizer.parameter_norm(), 0.0);
}

TEST(Transition, ProductsWithTheHessian) {
  // Of the Gaussian k·v; of an mlp, the derivative of the gradient along v.
  const GaussianTarget target(3.0, {2});
  const at::Tensor vector = at::tensor({1.0F, -2.0F, 0.5F, 4.0F}).view({2, 2});
  at::Tensor product = at::empty({2, 2});
  const auto of_target = engine_of(target);
  of_target->hessian_product({at::zeros({2, 2}), at::zeros({2}, at::kLong)}, vector, product);
  EXPECT_TRUE(at::allclose(product, 3 * vector));

  const EnergyConfig config{.type = EnergyType::mlp, .hidden = {16, 16}};
  const auto network = make_network(config, {2}, 5);
  const auto engine = engine_of(*network);
  const at::Tensor x = at::tensor({0.3F, -0.7F, 1.0F, 0.1F}).view({2, 2});
  engine->hessian_product(x, vector, product);
  constexpr double h = 1e-2;
  const at::Tensor difference =
      (evaluate(*engine, x + h * vector).gradient - evaluate(*engine, x - h * vector).gradient) /
      (2 * h);
  EXPECT_TRUE(at::allclose(product, difference, 1e-2, 1e-3)) << product << difference;

  const auto fast = make_layerwise_engine(config, *network, Precision::float32, cpu);
  EXPECT_FALSE(fast->has_hessian_products());
  EXPECT_THROW(fast->hessian_product(x, vector, product), Error);
}

}  // namespace
}  // namespace stanley
