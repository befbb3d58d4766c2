#include "sampler/thermometer.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "sampler/device_update.hpp"
#include "sampler/transition.hpp"

// What the thermometer reads of laws that are known. Fixed seeds.

namespace stanley {
namespace {

/// E(x) = Σ e(xᵢ), by e′.
class Separable : public GradientEngine {
 public:
  explicit Separable(std::function<float(float)> slope) : slope_(std::move(slope)) {}
  void load(const std::vector<at::Tensor>&) override {}
  void evaluate(const Points& points, at::Tensor& energy, at::Tensor* gradient) override {
    energy.zero_();
    if (gradient == nullptr) return;
    const auto* x = points.state.const_data_ptr<float>();
    auto* g = gradient->mutable_data_ptr<float>();
    std::transform(x, x + points.state.numel(), g, slope_);
  }
  double energy_error() const override { return 0; }
  bool batch_invariant() const override { return true; }
  std::string description() const override { return "separable"; }

 private:
  std::function<float(float)> slope_;
};

struct Thermometers {
  Ratio settled, law;
  double step_length = 0, walls = 0;
};

/// 64 chains of 200 elements, uniform in the box or in [−2, 2]: what `visits` visits of `steps`
/// steps each tell after as many that don't count.
Thermometers read(const SamplerConfig& config, const std::function<float(float)>& slope,
                  std::int64_t steps, std::int64_t visits = 1) {
  constexpr std::int64_t n = 64, d = 200;
  Separable energy(slope);
  const auto transition = make_transition(config, {.seed = 17});
  ChainBatch batch = zero_chains(3, n, {d}, at::kCPU);
  const std::array<double, 2> start = config.box.value_or(std::array<double, 2>{-2, 2});
  const auto low = static_cast<float>(start[0]), high = static_cast<float>(start[1]);
  fill_uniform({.seed = 2, .stream = random::Stream::start_state}, 0, low, high, batch);
  at::Tensor told;
  for (std::int64_t visit = 0; visit < 2 * visits; ++visit) {
    const at::Tensor of_visit =
        transition->advance(energy, batch, static_cast<std::uint64_t>(visit * steps), steps);
    told = visit > visits ? told + of_visit : of_visit;
  }
  const std::vector<double> sums = sums_of(told),
                            products = products_of(told, transition->columns());
  const auto ratio = [&](const char* name, std::size_t first) {
    const std::size_t a = column_number(*transition, name), b = *transition->columns()[a].weight;
    return ratio_over_chains(
        {sums[a], sums[b], products[first], products[first + 1], products[first + 2]}, n);
  };
  return {ratio("temperature_settled", 0), ratio("temperature_law", 3),
          sums[column_number(*transition, "step_length")] / static_cast<double>(n * visits),
          ((batch.state <= low) | (batch.state >= high)).to(at::kDouble).mean().item<double>()};
}

SamplerConfig kernel_of(TransitionType type, double alpha, double noise) {
  return {.type = type,
          .step_size = alpha,
          .noise = noise,
          .threshold = {0.5, std::nullopt},
          .refresh = Refresh::step,
          .box = std::nullopt};
}

/// Within 4.42 of its errors (false alarm 1e-5) and what the theory leaves out, and sharp enough to
/// be wrong.
void expect_reading(const Ratio& found, double exact, double left_out) {
  EXPECT_NEAR(found.value, exact, 4.42 * found.error + left_out * exact);
  EXPECT_GT(found.error, 0);
  EXPECT_LT(found.error, 0.01 * exact);
}

TEST(Thermometer, OfAGaussianReadsTOfTheDiscretisedChain) {
  // Langevin's chain with steps of α has the variance T·s²/(1 − α/(4s²)), here 1/7 too much.
  constexpr double k = 2, alpha = 0.25, temperature = 0.6;
  SamplerConfig config = kernel_of(TransitionType::langevin, alpha, 0);
  config.noise = std::nullopt;
  config.temperature = temperature;
  const auto slope = [](float x) { return 2.0F * (x - 0.3F); };
  const Thermometers found = read(config, slope, 60);
  expect_reading(found.settled, temperature / (1 - alpha * k / 4), 0);
  EXPECT_EQ(found.settled.value, found.law.value);  // γ is 1
  // The noise that is twice as strong is four times as hot.
  config.temperature = std::nullopt;
  config.noise = 2 * std::sqrt(alpha * temperature);
  expect_reading(read(config, slope, 60).settled, 4 * temperature / (1 - alpha * k / 4), 0);
}

TEST(Thermometer, TellsTheKernelFromTheLaw) {
  // STANLEY with γ at every state samples exp(−E/T)/γ (design, "The algorithm"): its noise is that
  // of T, its law is not. E = x²/2, T = 1, th = 1/2, and E[x·∂E] under that law by quadrature.
  double all = 0, law = 0, gamma = 0, drift = 0;
  for (double x = -8; x < 8; x += 1e-3) {
    const double of_x = std::min(1.0, 0.5 / std::abs(x)), density = std::exp(-x * x / 2) / of_x;
    all += density;
    law += density * x * x;
    gamma += density * of_x;
    drift += density * of_x * of_x * x * x;
  }
  EXPECT_GT(law / all, 1.4);
  constexpr double alpha = 0.1;
  SamplerConfig config = kernel_of(TransitionType::stanley, alpha, std::sqrt(alpha));
  const auto slope = [](float x) { return x; };
  const Thermometers found = read(config, slope, 400);
  // To second order in α, which f = x makes exact.
  expect_reading(found.settled, 1 + alpha / 4 * drift / gamma, 0.002);
  expect_reading(found.law, law / all, 0.02);
  // γ of a visit's start is another kernel, and its noise is that of T too.
  config.refresh = Refresh::iteration;
  expect_reading(read(config, slope, 5, 80).settled, 1, 0.03);
}

TEST(Thermometer, OfADoubleWellInABox) {
  // E = 2·(x² − 1)² in [−1.2, 1.2], whose walls 1 % of the elements lie on. Left out: the next
  // order of f, 3·(σ/1.2)², and of the drift.
  for (const double noise : {0.025, 0.05}) {
    SamplerConfig config = kernel_of(TransitionType::langevin, 0.005, noise);
    config.box = {-1.2, 1.2};
    const Thermometers found = read(
        config, [](float x) { return 8 * x * (x * x - 1); }, 300);
    const double temperature = noise * noise / 0.005;
    EXPECT_GT(found.walls, 1e-4);
    expect_reading(found.settled, temperature, 0.02);
    EXPECT_TRUE(step_is_small(found.step_length, found.walls, config));
  }
}

TEST(Thermometer, ReadsNothingWhereNothingIsToRead) {
  SamplerConfig config = kernel_of(TransitionType::langevin, 0.005, 0.05);
  config.box = {-1, 1};
  // All on the walls: both sums are 0.
  const Thermometers bound = read(
      config, [](float) { return 1e3F; }, 3);
  EXPECT_EQ(bound.walls, 1);
  EXPECT_TRUE(std::isnan(bound.settled.value) && std::isnan(bound.settled.error));
  // A flat energy: the mean of f′ over a box is 0.
  const Thermometers flat = read(
      config, [](float) { return 0.0F; }, 1);
  EXPECT_TRUE(std::isnan(flat.settled.value) && std::isnan(flat.law.value));
  EXPECT_TRUE(step_is_small(flat.step_length, flat.walls, config));
  // A step of half the box.
  config.noise = 0.5;
  const Thermometers thrown = read(
      config, [](float x) { return x; }, 5);
  EXPECT_FALSE(step_is_small(thrown.step_length, thrown.walls, config));
  // It is measured on the elements that are free, and without a box nothing is too long.
  EXPECT_TRUE(step_is_small(0.08, 0.2, config));
  EXPECT_FALSE(step_is_small(0.08, 0.5, config));
  EXPECT_FALSE(step_is_small(std::nan(""), 0.5, config));
  config.box = std::nullopt;
  EXPECT_TRUE(step_is_small(1e9, 0, config));
}

TEST(Thermometer, TheRatioAndItsError) {
  // a = 1, 2, 3, b = 2, 2, 5: Σ(a − 2/3·b)² = (1/3)² + (2/3)² + (1/3)² = 2/3, and n/(n − 1) = 3/2.
  const Ratio ratio = ratio_over_chains({6, 9, 14, 21, 33}, 3);
  EXPECT_TRUE(std::isnan(ratio.value));  // the mean of b, 3, is 3 of its errors
  // b = 2, 2, 2.2 with a = 1, 2, 3.
  const Ratio other = ratio_over_chains({6, 6.2, 14, 12.6, 12.84}, 3);
  EXPECT_NEAR(other.value, 6 / 6.2, 1e-12);
  double squares = 0;
  for (const auto& [a, b] : {std::pair{1.0, 2.0}, {2.0, 2.0}, {3.0, 2.2}}) {
    squares += (a - other.value * b) * (a - other.value * b);
  }
  EXPECT_NEAR(other.error, std::sqrt(1.5 * squares) / 6.2, 1e-12);
  EXPECT_TRUE(std::isnan(ratio_over_chains({1, 1, 1, 1, 1}, 1).value));
  EXPECT_TRUE(std::isnan(ratio_over_chains({std::nan(""), 2, 2, 2, 2}, 2).value));
  EXPECT_EQ(ratio_over_chains({3, 2, 5, 3, 2}, 2).value, 1.5);  // b = 1, 1 has no error
}

}  // namespace
}  // namespace stanley
