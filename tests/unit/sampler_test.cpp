#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <string>

#include "kernels/chain_update.hpp"
#include "kernels/loop_threads.hpp"
#include "random/normal.hpp"
#include "sampler/device_update.hpp"
#include "sampler/transition.hpp"
#include "unit/instruction_sets.hpp"

namespace stanley {
namespace {

const random::Key key{.seed = 17};

/// E(x) = Σ k·(x − c)²/2 over the elements.
class Quadratic : public GradientEngine {
 public:
  explicit Quadratic(double stiffness, double centre = 0)
      : stiffness_(static_cast<float>(stiffness)), centre_(static_cast<float>(centre)) {}
  void load(const std::vector<at::Tensor>&) override {}
  void evaluate(const Points& points, at::Tensor& energy, at::Tensor* gradient) override {
    ++evaluations;
    const at::Tensor& state = points.state;
    const std::int64_t n = state.size(0), d = state.numel() / n;
    const auto* x = state.const_data_ptr<float>();
    const at::Tensor slope = gradient != nullptr ? *gradient : at::empty_like(state);
    auto* g = slope.mutable_data_ptr<float>();
    for (std::int64_t i = 0; i < n; ++i) {
      float sum = 0;
      for (std::int64_t j = i * d; j < (i + 1) * d; ++j) {
        g[j] = stiffness_ * (x[j] - centre_);
        sum += 0.5F * g[j] * (x[j] - centre_);
      }
      energy.mutable_data_ptr<double>()[i] = static_cast<double>(sum);
    }
  }
  double energy_error() const override { return 0; }
  bool batch_invariant() const override { return true; }
  bool repeatable() const override { return repeats; }
  std::string description() const override { return "quadratic"; }

  int evaluations = 0;
  bool repeats = false;

 private:
  float stiffness_, centre_;
};

/// Sums over the chains, by name; of columns without one, by number.
std::map<std::string, double> told_by(const Transition& transition, const at::Tensor& statistics) {
  std::map<std::string, double> told;
  const std::vector<double> sums = sums_of(statistics);
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const std::string& name = transition.columns()[i].name;
    told[name.empty() ? std::to_string(i) : name] = sums[i];
  }
  return told;
}

SamplerConfig sampler(TransitionType type) {
  return {.type = type,
          .step_size = 0.3,
          .noise = 0.1,
          .threshold = {0.5, std::nullopt},
          .refresh = Refresh::step,
          .box = std::nullopt};
}

/// n chains of d elements in [−2, 2], with ids that are no row numbers.
ChainBatch chains(std::int64_t n, std::int64_t d) {
  ChainBatch batch{at::empty({n, d}), at::arange(n, at::kLong) * 5 + 3};
  fill_uniform_cpu({.seed = 2, .stream = random::Stream::start_state},
                   {batch.ids.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(n)}, 0, d,
                   -2.0F, 2.0F, batch.state.mutable_data_ptr<float>());
  return batch;
}

ChainBatch copy_of(const ChainBatch& batch) { return {batch.state.clone(), batch.ids.clone()}; }

// --- order statistics ---------------------------------------------------------------------------

class SamplerOrderStatistic : public EachInstructionSet {};
WITH_EACH_INSTRUCTION_SET(SamplerOrderStatistic);

TEST_P(SamplerOrderStatistic, IsThatOfSorting) {
  const float nan = std::nanf(""), infinity = std::numeric_limits<float>::infinity();
  for (const std::int64_t d : {1, 2, 3, 17, 64, 1000}) {
    at::Tensor values = chains(5, d).state.clone();
    auto* row = values.mutable_data_ptr<float>();
    for (std::int64_t i = 0; i < d; ++i) {
      row[d + i] = -0.25F;                              // constant
      row[2 * d + i] *= i % 3 == 0 ? 0.0F : 1e-30F;     // zeros of both signs, and tiny numbers
      row[3 * d + i] *= i % 4 == 1 ? infinity : 1e30F;  // huge numbers
      if (i % 5 == 0) row[4 * d + i] = i % 2 == 0 ? nan : -nan;
    }
    for (std::int64_t k = 1; k <= d; k += std::max<std::int64_t>(1, d / 7)) {
      const at::Tensor found = absolute_order_statistic(values, k);
      for (std::int64_t i = 0; i < 5; ++i) {
        std::vector<float> sorted;
        for (std::int64_t j = 0; j < d; ++j) sorted.push_back(std::abs(row[i * d + j]));
        std::nth_element(
            sorted.begin(), sorted.begin() + (k - 1), sorted.end(),
            [](float a, float b) { return a < b || (!std::isnan(a) && std::isnan(b)); });
        const float expected = sorted[static_cast<std::size_t>(k - 1)];
        const auto value = found[i].item<float>();
        EXPECT_TRUE(std::isnan(expected) ? std::isnan(value) : value == expected)
            << "row " << i << " of " << d << ", k " << k << ": " << value << " for " << expected;
      }
    }
  }
}

TEST_P(SamplerOrderStatistic, DoesNotDependOnThreads) {
  for (std::int64_t n = 1; n <= 33; ++n) {
    const at::Tensor values = chains(n, 1000).state;
    const at::Tensor expected = absolute_order_statistic(values, 700);
    for (const int threads : {2, 3}) {
      const LoopThreads these(threads);
      EXPECT_TRUE(at::equal(absolute_order_statistic(values, 700), expected)) << n;
    }
  }
}

TEST_P(SamplerOrderStatistic, RankOfAQuantile) {
  EXPECT_EQ(quantile_rank(0.5, 10), 5);
  // Products that floating point makes a little too large.
  EXPECT_EQ(quantile_rank(0.07, 100), 7);
  EXPECT_EQ(quantile_rank(0.14, 100), 14);
  EXPECT_EQ(quantile_rank(0.28, 100), 28);
  EXPECT_EQ(quantile_rank(0.5, 11), 6);
  EXPECT_EQ(quantile_rank(0.8, 1024), 820);
  EXPECT_EQ(quantile_rank(1.0, 7), 7);
  EXPECT_EQ(quantile_rank(0.01, 2), 1);
  EXPECT_EQ(quantile_rank(0.0, 5), 1);
}

// --- one transition and several -----------------------------------------------------------------

/// γ of one chain's gradients in double precision.
std::vector<double> gains(const SamplerConfig& config, const std::vector<double>& gradient) {
  std::vector<double> result(gradient.size(), 1.0);
  if (config.type != TransitionType::stanley) return result;
  std::vector<double> sorted;
  for (const double g : gradient) sorted.push_back(std::abs(g));
  std::sort(sorted.begin(), sorted.end());
  const auto d = static_cast<double>(gradient.size());
  const double th =
      config.threshold.value
          ? *config.threshold.value
          : sorted[static_cast<std::size_t>(std::ceil(*config.threshold.quantile * d)) - 1];
  for (std::size_t i = 0; i < result.size(); ++i) {
    if (th > 0) result[i] = th / std::max(th, std::abs(gradient[i]));
  }
  return result;
}

/// The algorithm of the design, for E = k·x²/2, in double precision.
at::Tensor by_the_book(const SamplerConfig& config, double k, const ChainBatch& batch,
                       std::uint64_t first_step, std::int64_t steps) {
  at::Tensor result = batch.state.clone();
  const auto d = static_cast<std::size_t>(batch.state.size(1));
  for (std::int64_t row = 0; row < batch.state.size(0); ++row) {
    auto* state = result.mutable_data_ptr<float>() + row * batch.state.size(1);
    std::vector<double> z(state, state + d), gradient(d), gain;
    const auto id = static_cast<std::uint32_t>(batch.ids[row].item<std::int64_t>());
    for (std::int64_t step = 0; step < steps; ++step) {
      for (std::size_t i = 0; i < d; ++i) gradient[i] = k * z[i];
      if (step == 0 || config.refresh == Refresh::step) gain = gains(config, gradient);
      for (std::size_t i = 0; i < d; ++i) {
        const auto xi = static_cast<double>(random::normal(
            key, id, first_step + static_cast<std::uint64_t>(step), static_cast<std::uint32_t>(i)));
        const double sigma = config.type == TransitionType::gradient_descent ? 0.0 : config.sigma();
        z[i] += -config.step_size / 2 * gain[i] * gradient[i] + sigma * std::sqrt(gain[i]) * xi;
        if (config.box) z[i] = std::clamp(z[i], (*config.box)[0], (*config.box)[1]);
      }
    }
    for (std::size_t i = 0; i < d; ++i) state[i] = static_cast<float>(z[i]);
  }
  return result;
}

std::vector<SamplerConfig> all_kinds() {
  std::vector<SamplerConfig> configs;
  for (const Refresh refresh : {Refresh::iteration, Refresh::step}) {
    for (const Threshold& threshold :
         {Threshold{0.5, std::nullopt}, Threshold{0.0, std::nullopt}, Threshold{std::nullopt, 0.5},
          Threshold{std::nullopt, 1.0}}) {
      for (const bool boxed : {true, false}) {
        SamplerConfig config = sampler(TransitionType::stanley);
        config.refresh = refresh;
        config.threshold = threshold;
        if (boxed) config.box = {{-1.5, 1.0}};
        configs.push_back(config);
      }
    }
  }
  configs.push_back(sampler(TransitionType::langevin));
  configs.push_back(sampler(TransitionType::gradient_descent));
  SamplerConfig warm = sampler(TransitionType::langevin);
  warm.noise = std::nullopt;
  warm.temperature = 0.2;
  configs.push_back(warm);
  return configs;
}

TEST(SamplerTransition, IsTheAlgorithmOfTheDesign) {
  for (const SamplerConfig& config : all_kinds()) {
    for (const std::int64_t steps : {1, 4}) {
      Quadratic energy(1.7);
      ChainBatch batch = chains(6, 21);
      const at::Tensor expected = by_the_book(config, 1.7, batch, 40, steps);
      make_transition(config, key)->advance(energy, batch, 40, steps);
      // A few roundings of numbers below 4 in each step; no map here stretches them.
      EXPECT_LT((batch.state - expected).abs().max().item<double>(), 4.0 * 2e-6)
          << to_string(config.type) << ' ' << to_string(config.refresh);
      EXPECT_EQ(energy.evaluations, steps);
    }
  }
}

TEST(SamplerTransition, TheFrozenGainIsAnotherAlgorithm) {
  SamplerConfig frozen = sampler(TransitionType::stanley);
  frozen.refresh = Refresh::iteration;
  const ChainBatch start = chains(6, 21);
  const at::Tensor one = by_the_book(frozen, 1.7, start, 40, 4);
  const at::Tensor other = by_the_book(sampler(TransitionType::stanley), 1.7, start, 40, 4);
  EXPECT_GT((one - other).abs().max().item<double>(), 0.01);
}

TEST(SamplerTransition, NoThresholdIsLangevin) {
  SamplerConfig zero = sampler(TransitionType::stanley);
  zero.threshold = {0.0, std::nullopt};
  SamplerConfig high = zero;
  high.threshold = {100.0, std::nullopt};
  for (const Refresh refresh : {Refresh::iteration, Refresh::step}) {
    zero.refresh = high.refresh = refresh;
    ChainBatch plain = chains(3, 10), with_zero = chains(3, 10), with_high = chains(3, 10);
    Quadratic energy(1.0);
    make_transition(sampler(TransitionType::langevin), key)->advance(energy, plain, 0, 3);
    make_transition(zero, key)->advance(energy, with_zero, 0, 3);
    make_transition(high, key)->advance(energy, with_high, 0, 3);
    EXPECT_TRUE(at::equal(with_zero.state, plain.state));
    EXPECT_TRUE(at::equal(with_high.state, plain.state));
  }
}

TEST(SamplerTransition, AFlatEnergyHasThresholdZeroAndGainOne) {
  SamplerConfig config = sampler(TransitionType::stanley);
  config.threshold = {std::nullopt, 0.5};
  for (const Refresh refresh : {Refresh::iteration, Refresh::step}) {
    config.refresh = refresh;
    Quadratic flat(0.0);
    ChainBatch moved = chains(3, 10), plain = chains(3, 10);
    const auto transition = make_transition(config, key);
    const auto told = told_by(*transition, transition->advance(flat, moved, 0, 2));
    make_transition(sampler(TransitionType::langevin), key)->advance(flat, plain, 0, 2);
    EXPECT_TRUE(at::equal(moved.state, plain.state));
    EXPECT_EQ(told.at("gain_q10"), 3);
    EXPECT_EQ(told.at("gain_below_one"), 0);
  }
}

TEST(SamplerTransition, AChainHasTheSameBitsInAnyBatch) {
  for (const SamplerConfig& config : all_kinds()) {
    Quadratic energy(1.7);
    const ChainBatch start = chains(7, 33);
    const auto transition = make_transition(config, key);  // one object for batches of all sizes
    ChainBatch together = copy_of(start);
    transition->advance(energy, together, 12, 3);
    ChainBatch reversed{start.state.flip(0).contiguous(), start.ids.flip(0).contiguous()};
    transition->advance(energy, reversed, 12, 3);
    EXPECT_TRUE(at::equal(reversed.state.flip(0), together.state));
    for (std::int64_t i = 0; i < 7; ++i) {
      ChainBatch alone{start.state.narrow(0, i, 1).clone(), start.ids.narrow(0, i, 1).clone()};
      transition->advance(energy, alone, 12, 3);
      EXPECT_TRUE(at::equal(alone.state[0], together.state[i]));
    }
  }
}

TEST(SamplerTransition, StepsCanBeTakenOneByOne) {
  for (const SamplerConfig& config : all_kinds()) {
    if (config.refresh == Refresh::iteration) continue;
    Quadratic energy(1.7);
    ChainBatch at_once = chains(4, 9), one_by_one = chains(4, 9), wrong = chains(4, 9);
    const auto transition = make_transition(config, key);
    transition->advance(energy, at_once, 100, 3);
    for (std::uint64_t step = 100; step < 103; ++step) {
      transition->advance(energy, one_by_one, step, 1);
      transition->advance(energy, wrong, 100, 1);
    }
    EXPECT_TRUE(at::equal(at_once.state, one_by_one.state));
    if (noise_scale(config) > 0) {
      EXPECT_FALSE(at::equal(at_once.state, wrong.state));
    }
  }
}

/// As on a GPU, where such an engine's steps are recorded once, on memory of the transition's own.
TEST(SamplerTransition, AnEngineThatRepeatsItselfMovesChainsAlike) {
  for (const SamplerConfig& config : all_kinds()) {
    Quadratic plain(1.7), repeating(1.7), other(0.4);
    repeating.repeats = other.repeats = true;
    const auto expected = make_transition(config, key), transition = make_transition(config, key);
    std::vector<at::Tensor> kept;
    // Another size, number of steps, engine, and back.
    for (const auto& [n, steps, first] :
         {std::tuple{4, 3, 100}, {4, 3, 103}, {2, 3, 7}, {4, 3, 90}, {4, 5, 90}, {4, 3, 11}}) {
      ChainBatch batch = chains(n, 9);
      batch.state.mul_(0.01 * first);
      ChainBatch moved = copy_of(batch);
      const std::uint64_t at = static_cast<std::uint64_t>(first);
      const at::Tensor of_plain = expected->advance(plain, batch, at, steps);
      const at::Tensor of_repeating = transition->advance(repeating, moved, at, steps);
      EXPECT_TRUE(at::equal(moved.state, batch.state)) << n << ' ' << steps << ' ' << first;
      EXPECT_TRUE(at::equal(of_repeating, of_plain));
      kept.push_back(of_repeating);
      ChainBatch elsewhere = copy_of(batch);
      transition->advance(other, elsewhere, at, 1);
    }
    EXPECT_FALSE(at::equal(kept[0], kept[3]));
    EXPECT_EQ(repeating.evaluations, plain.evaluations);
  }
}

TEST(SamplerTransition, OnlyGradientDescentHasNoNoise) {
  EXPECT_EQ(noise_scale(sampler(TransitionType::gradient_descent)), 0.0F);
  EXPECT_EQ(noise_scale(sampler(TransitionType::langevin)), 0.1F);
  SamplerConfig warm = sampler(TransitionType::stanley);
  warm.noise = std::nullopt;
  warm.temperature = 0.27;
  EXPECT_NEAR(static_cast<double>(noise_scale(warm)), std::sqrt(0.3 * 0.27), 1e-7);
}

// --- what is recorded ---------------------------------------------------------------------------

TEST(SamplerRecord, SumsOverChains) {
  // With k = 1 the gradient is the state: |∇E| is 1 … 10 in the first chain, half of it in the
  // next.
  ChainBatch batch{at::arange(1, 11, at::kFloat).repeat({2, 1}), at::arange(2, at::kLong)};
  batch.state[1].mul_(-0.5);
  SamplerConfig config = sampler(TransitionType::stanley);
  config.threshold = {4.0, std::nullopt};
  Quadratic energy(1.0);
  const auto transition = make_transition(config, key);
  const auto told = told_by(*transition, transition->advance(energy, batch, 0, 2));
  EXPECT_EQ(told.at("state_gradient_q10"), 1 + 0.5);
  EXPECT_EQ(told.at("state_gradient_q50"), 5 + 2.5);
  EXPECT_EQ(told.at("state_gradient_q90"), 9 + 4.5);
  EXPECT_NEAR(told.at("gain_q10"), 4 / 9.0 + 4 / 4.5, 1e-6);
  EXPECT_NEAR(told.at("gain_q50"), 4 / 5.0 + 1, 1e-6);
  EXPECT_EQ(told.at("gain_q90"), 2);
  EXPECT_NEAR(told.at("gain_below_one"), 0.6 + 0.2, 1e-6);
  const std::size_t weight = *transition->columns()[7].weight;
  EXPECT_EQ(told.at(std::to_string(weight)), 55 + 27.5);
  // γ·g is g up to the threshold, and the threshold above.
  EXPECT_NEAR(told.at("gain_weighted_drift"), (10 + 6 * 4) + (0.5 * 36 + 2 * 4), 1e-5);
  EXPECT_EQ(told.at("acceptance_rate"), 2);
}

TEST(SamplerRecord, LangevinHasNoGain) {
  ChainBatch batch = chains(3, 50);
  Quadratic energy(1.0);
  const auto transition = make_transition(sampler(TransitionType::langevin), key);
  const auto told = told_by(*transition, transition->advance(energy, batch, 0, 1));
  for (const char* name : {"gain_q10", "gain_q50", "gain_q90"}) EXPECT_EQ(told.at(name), 3);
  EXPECT_EQ(told.at("gain_below_one"), 0);
  EXPECT_GT(told.at("gain_weighted_drift"), 0);
  EXPECT_EQ(told.at("gain_weighted_drift"), told.at("8"));
}

// --- statistics ---------------------------------------------------------------------------------
// Fixed seeds. "False alarm": the probability that a right sampler fails with a seed at random.

TEST(SamplerLaw, LangevinOnAGaussian) {
  // x ← (1 − αk/2)(x − c) + c + σξ with σ² = αT is an autoregression: stationary mean c and
  // variance αT/(1 − (1 − αk/2)²) = T/(k(1 − αk/4)), which is 1/7 above T/k for αk = 1/2. Null
  // hypothesis: 2^18 independent numbers from that Gaussian. False alarm 1e-5 for each of the two
  // moments.
  constexpr double k = 2, alpha = 0.25, temperature = 0.6, centre = 0.3, z = 4.42;
  SamplerConfig config = sampler(TransitionType::langevin);
  config.step_size = alpha;
  config.noise = std::nullopt;
  config.temperature = temperature;
  Quadratic energy(k, centre);
  ChainBatch batch = chains(256, 1024);
  make_transition(config, key)->advance(energy, batch, 0, 60);  // 0.75^60 of the start is left
  const at::Tensor x = batch.state.to(at::kDouble);
  const auto n = static_cast<double>(x.numel());
  const double variance = temperature / (k * (1 - alpha * k / 4));
  const double found = (x - x.mean()).square().mean().item<double>();
  EXPECT_LT(std::abs(x.mean().item<double>() - centre), z * std::sqrt(variance / n));
  EXPECT_LT(std::abs(found - variance), z * variance * std::sqrt(2 / n));
  // The law without the discretisation's bias is another one, and would be noticed.
  EXPECT_GT(std::abs(found - temperature / k), 10 * z * variance * std::sqrt(2 / n));
}

/// Pearson's χ² of numbers in 20 bins of equal probability under a density on [−6, 6].
double chi_square(const at::Tensor& numbers, const std::function<double(double)>& density) {
  constexpr int bins = 20, points = 120000;
  constexpr double low = -6, width = 12.0 / points;
  std::vector<double> cumulative{0};
  for (int i = 0; i < points; ++i) {
    cumulative.push_back(cumulative.back() + density(low + (i + 0.5) * width));
  }
  std::vector<double> counts(bins, 0.0);
  const at::Tensor flat = numbers.flatten();
  for (std::int64_t i = 0; i < flat.numel(); ++i) {
    const double place = (static_cast<double>(flat.const_data_ptr<float>()[i]) - low) / width;
    const auto at = static_cast<std::size_t>(std::clamp(place, 0.0, points - 1.0));
    const double share = cumulative[at] / cumulative.back();
    ++counts[static_cast<std::size_t>(std::min(bins - 1.0, bins * share))];
  }
  const double expected = static_cast<double>(flat.numel()) / bins;
  double sum = 0;
  for (const double count : counts) sum += (count - expected) * (count - expected) / expected;
  return sum;
}

TEST(SamplerLaw, StanleyWithSmallStepsLeavesOutTheDivergence) {
  // E = x²/2, T = 1, th = 1/2, γ at every state. Null hypothesis: 16,384 independent numbers with
  // the density ∝ exp(−E/T)/γ (design, "The algorithm"). 99.99 % quantile of χ² with 19 degrees of
  // freedom: 50.8. Steps of α = 0.02 make a bias that adds about 0.5 to χ².
  SamplerConfig config = sampler(TransitionType::stanley);
  config.step_size = 0.02;
  config.noise = std::nullopt;
  config.temperature = 1.0;
  const auto law = [](double x) { return std::exp(-x * x / 2) * std::max(1.0, std::abs(x) / 0.5); };
  const auto boltzmann = [](double x) { return std::exp(-x * x / 2); };
  Quadratic energy(1.0);
  ChainBatch batch = chains(16, 1024);
  make_transition(config, key)->advance(energy, batch, 0, 3000);
  EXPECT_LT(chi_square(batch.state, law), 50.8);
  EXPECT_GT(chi_square(batch.state, boltzmann), 500);

  // The same test on the wrong sampler: Langevin's law is exp(−E/T) alone.
  config.type = TransitionType::langevin;
  ChainBatch plain = chains(16, 1024);
  make_transition(config, key)->advance(energy, plain, 0, 3000);
  EXPECT_LT(chi_square(plain.state, boltzmann), 50.8);
  EXPECT_GT(chi_square(plain.state, law), 500);
}

}  // namespace
}  // namespace stanley
