#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/error.hpp"
#include "sampler/transition.hpp"
#include "unit/laws.hpp"

// Corrected transitions leave exp(−E/T) as it is: chains that are exact draws of it are so after
// any number of steps. Each test says its null hypothesis, at which rate it fails by chance, and
// which error it sees with which rate of missing it.

namespace stanley {
namespace {

constexpr double temperature = 0.7;

struct Case {
  std::string name;
  SamplerConfig sampler;
};

SamplerConfig sampler_of(TransitionType type) {
  SamplerConfig config{.type = type, .step_size = 0.5, .noise = std::nullopt};
  config.temperature = temperature;
  config.threshold = {0.6, std::nullopt};
  config.box = std::nullopt;
  config.metropolis = true;
  return config;
}

std::vector<Case> all_corrected() {
  std::vector<Case> cases;
  for (const TransitionType type :
       {TransitionType::langevin, TransitionType::stanley, TransitionType::tamed,
        TransitionType::preconditioned_langevin, TransitionType::barker,
        TransitionType::random_walk, TransitionType::hmc}) {
    cases.push_back({to_string(type), sampler_of(type)});
  }
  SamplerConfig quantile = sampler_of(TransitionType::stanley);
  quantile.threshold = {std::nullopt, 0.5};
  cases.push_back({"stanley with a quantile", quantile});
  quantile.drift_correction = true;
  cases.push_back({"stanley with a quantile and its drift", quantile});
  SamplerConfig drift = sampler_of(TransitionType::stanley);
  drift.drift_correction = true;
  cases.push_back({"stanley with its drift", drift});
  SamplerConfig tamed = sampler_of(TransitionType::tamed);
  tamed.threshold = {std::nullopt, 0.5};
  cases.push_back({"tamed with a quantile", tamed});
  SamplerConfig partial = sampler_of(TransitionType::hmc);
  partial.trajectory = {.steps = 3, .jitter = 0.3, .refreshment = 0.1};
  partial.step_size = 1.1;  // so large that many trajectories are refused, and momenta turn
  cases.push_back({"hmc with partial refreshment", partial});
  return cases;
}

struct Moved {
  std::vector<double> shares;
  double acceptance;
};

/// Exact draws of exp(−E/T) in [low, high], at least so many elements of d to a chain, after some
/// steps.
Moved moved(const SamplerConfig& config, const Law& law, double low, double high, std::int64_t d,
            std::int64_t elements) {
  constexpr std::int64_t steps = 5;
  const Quantiles exact(law, temperature, low, high);
  SumEngine engine(law, 0);
  const auto transition = make_transition(config, {.seed = 11});
  const std::int64_t n = (elements + d - 1) / d;
  ChainBatch batch{exact_draws(exact, n, d, 5), at::arange(n, at::kLong)};
  batch.memory = start_memory(transition->memory(), batch.state);
  if (config.type == TransitionType::preconditioned_langevin) {  // as if the warm-up had found it
    batch.memory[0].copy_(at::arange(1, d + 1).to(at::kFloat).expand_as(batch.memory[0]));
  }
  transition->freeze();
  const at::Tensor told = transition->advance(engine, batch, 0, steps);
  return {shares_below(batch.state, exact), sums_of(told)[0] / static_cast<double>(n)};
}

/// Half of the smallest distance that a mutant of the corrected kernels has here (log γ left out,
/// x²/2, five steps: 0.027).
constexpr double seen = 0.0135;

void expect_exact(const Case& one, const Law& law, double low, double high, std::int64_t d) {
  const Moved found = moved(one.sampler, law, low, high, d, DistributionTest::draws_to_see(seen));
  const std::string what = one.name + ", " + law.name + ", d " + std::to_string(d);
  EXPECT_LT(DistributionTest::statistic(found.shares), DistributionTest::bound) << what;
  EXPECT_GT(DistributionTest::statistic_at(seen, found.shares), DistributionTest::bound) << what;
  EXPECT_GT(found.acceptance, 0.1) << what;
}

TEST(Exactness, ExactDrawsStayExact) {
  for (const Case& one : all_corrected()) expect_exact(one, skewed(), -8, 6, 3);
}

TEST(Exactness, ExactDrawsOfOneElementStayExact) {
  for (const Case& one : all_corrected()) expect_exact(one, quadratic(), -8, 8, 1);
}

TEST(Exactness, ExactDrawsInABoxStayExact) {
  for (Case one : all_corrected()) {
    one.sampler.box = {{-0.4, 0.9}};  // narrower than a step
    expect_exact(one, skewed(), -0.4, 0.9, 2);
  }
}

// --- steps --------------------------------------------------------------------------------------

ChainBatch some_chains(const Transition& transition, std::int64_t n, std::int64_t d) {
  ChainBatch batch{exact_draws(Quantiles(quadratic(), 1, -3, 3), n, d, 2),
                   at::arange(n, at::kLong) * 3 + 1};
  batch.memory = start_memory(transition.memory(), batch.state);
  return batch;
}

TEST(Exactness, StepsAreTheSameInOneCallAndInSeveral) {
  for (const Case& one : all_corrected()) {
    SumEngine engine(skewed(), 0.2);
    const auto whole = make_transition(one.sampler, {.seed = 4}),
               parts = make_transition(one.sampler, {.seed = 4});
    ChainBatch at_once = some_chains(*whole, 17, 5), cut = some_chains(*parts, 17, 5);
    whole->advance(engine, at_once, 7, 6);
    parts->advance(engine, cut, 7, 2);
    parts->advance(engine, cut, 9, 4);
    EXPECT_TRUE(at::equal(at_once.state, cut.state)) << one.name;
    for (std::size_t i = 0; i < cut.memory.size(); ++i) {
      EXPECT_TRUE(at::equal(at_once.memory[i], cut.memory[i])) << one.name;
    }
  }
}

TEST(Exactness, ChainsDoNotDependOnThoseBesideThem) {
  for (const Case& one : all_corrected()) {
    SumEngine engine(skewed(), 0.2);
    const auto whole = make_transition(one.sampler, {.seed = 4}),
               alone = make_transition(one.sampler, {.seed = 4});
    ChainBatch together = some_chains(*whole, 9, 5);
    ChainBatch some = some_chains(*alone, 9, 5).narrow(3, 4);
    for (at::Tensor& one_memory : some.memory) one_memory = one_memory.clone();
    whole->advance(engine, together, 0, 4);
    alone->advance(engine, some, 0, 4);
    EXPECT_TRUE(at::equal(together.state.narrow(0, 3, 4), some.state)) << one.name;
  }
}

TEST(Exactness, ACorrectedStepTakesOneGradient) {
  for (const Case& one : all_corrected()) {
    SumEngine engine(skewed(), 0);
    const auto transition = make_transition(one.sampler, {.seed = 4});
    ChainBatch batch = some_chains(*transition, 3, 2);
    transition->advance(engine, batch, 0, 20);
    const std::int64_t each =
        one.sampler.type == TransitionType::hmc ? one.sampler.trajectory.steps : 1;
    EXPECT_EQ(engine.evaluations, 20 * each + 1) << one.name;  // and that of the start
    const bool takes_gradients = one.sampler.type != TransitionType::random_walk;
    EXPECT_EQ(transition->gradients(20), takes_gradients ? engine.evaluations : 0) << one.name;
  }
}

TEST(Exactness, ChainsMayHaveStepsAndTemperaturesOfTheirOwn) {
  for (const Case& one : all_corrected()) {
    SumEngine engine(skewed(), 0.2);
    SamplerConfig other = one.sampler;
    other.step_size = 0.2;
    other.temperature = 2;
    const auto mixed = make_transition(one.sampler, {.seed = 4}),
               first = make_transition(one.sampler, {.seed = 4}),
               second = make_transition(other, {.seed = 4});
    ChainBatch both = some_chains(*mixed, 6, 5), a = some_chains(*first, 6, 5),
               b = some_chains(*second, 6, 5);
    both.step_size = at::full({6}, one.sampler.step_size);
    both.temperature = at::full({6}, temperature);
    both.step_size.narrow(0, 3, 3).fill_(0.2);
    both.temperature.narrow(0, 3, 3).fill_(2.0);
    mixed->advance(engine, both, 0, 4);
    first->advance(engine, a, 0, 4);
    second->advance(engine, b, 0, 4);
    EXPECT_TRUE(at::allclose(both.state.narrow(0, 0, 3), a.state.narrow(0, 0, 3))) << one.name;
    EXPECT_TRUE(at::allclose(both.state.narrow(0, 3, 3), b.state.narrow(0, 3, 3))) << one.name;
  }
}

TEST(Exactness, AStateOfNoFiniteEnergyIsNeverTaken) {
  const Law wall{"a wall", [](double x) { return x > 0.5 ? INFINITY : x * x / 2; },
                 [](double x) { return x; }, [](double) { return 1.0; }};
  for (const Case& one : all_corrected()) {
    SumEngine engine(wall, 0);
    const auto transition = make_transition(one.sampler, {.seed = 4});
    ChainBatch batch = some_chains(*transition, 200, 2);
    batch.state.clamp_max_(0.4);
    transition->advance(engine, batch, 0, 20);
    EXPECT_LE(batch.state.max().item<double>(), 0.5) << one.name;
    EXPECT_TRUE(batch.state.isfinite().all().item<bool>()) << one.name;
  }
}

TEST(Exactness, EnergiesThatAreTooRoughForTAreRefused) {
  class Rough final : public GradientEngine {
   public:
    void load(const std::vector<at::Tensor>&) override {}
    void evaluate(const Points&, at::Tensor& energy, at::Tensor* gradient) override {
      energy.fill_(-3.0);
      if (gradient != nullptr) gradient->zero_();
    }
    double energy_error() const override { return 1e-6; }
    bool batch_invariant() const override { return true; }
    std::string description() const override { return "rough"; }
  };
  for (const Case& one : all_corrected()) {
    if (one.sampler.drift_correction) continue;
    Rough engine;
    SamplerConfig cold = one.sampler;
    cold.temperature = 3.9e-4;  // 4e-6/T is above 0.01
    const auto transition = make_transition(cold, {.seed = 4});
    ChainBatch batch = some_chains(*transition, 3, 2);
    try {
      transition->advance(engine, batch, 0, 1);
      ADD_FAILURE() << one.name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ExitCode::configuration);
      EXPECT_NE(std::string(error.what()).find("raise the temperature"), std::string::npos);
    }
    cold.temperature = 4.1e-4;
    make_transition(cold, {.seed = 4})->advance(engine, batch, 0, 1);
  }
}

// --- Hamiltonian Monte Carlo
// ----------------------------------------------------------------------

/// The mean acceptance of one trajectory of length 1 from exact draws, in so many steps.
double refused_with(std::int64_t leaps) {
  SamplerConfig config = sampler_of(TransitionType::hmc);
  config.trajectory = {.steps = leaps, .jitter = 0, .refreshment = 1};
  config.step_size = std::pow(1.0 / static_cast<double>(leaps), 2);
  SumEngine engine(quartic(), 0);
  const auto transition = make_transition(config, {.seed = 4});
  const Quantiles exact(quartic(), temperature, -4, 4);
  ChainBatch batch{exact_draws(exact, 40000, 2, 5), at::arange(40000, at::kLong)};
  return 1 - sums_of(transition->advance(engine, batch, 0, 1))[0] / 40000;
}

TEST(Exactness, TheErrorOfATrajectoryFallsWithTheSquareOfItsSteps) {
  // ΔH is of order ε², so that the share that is refused, E|ΔH|/2 to first order, is so too.
  const double ratio = refused_with(6) / refused_with(12);
  EXPECT_GT(ratio, 3.2);
  EXPECT_LT(ratio, 5.2);
}

}  // namespace
}  // namespace stanley
