#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numbers>
#include <string>
#include <vector>

#include "sampler/gain.hpp"
#include "sampler/transition.hpp"
#include "unit/laws.hpp"

// What uncorrected steps sample: by formula, by the stationary law of the discretised kernel, and
// in the limit of small steps.

namespace stanley {
namespace {

constexpr double temperature = 0.7, th = 0.6;

SamplerConfig uncorrected(TransitionType type, double step_size) {
  SamplerConfig config{.type = type, .step_size = step_size, .noise = std::nullopt};
  config.temperature = temperature;
  config.threshold = {th, std::nullopt};
  config.box = std::nullopt;
  return config;
}

/// A step's law of one element: a normal one around mean(z) with deviation(z).
struct Step {
  std::function<double(double)> mean, deviation;
};

double gain(const Law& law, double z) { return th / std::max(th, std::abs(law.slope(z))); }

/// dγ/dz
double gain_slope(const Law& law, double z) {
  const double g = law.slope(z);
  return std::abs(g) > th ? -th * law.curvature(z) * (g > 0 ? 1 : -1) / (g * g) : 0;
}

Step stanley_step(const Law& law, double step_size, bool drift) {
  return {[=](double z) {
            return z - step_size / 2 * gain(law, z) * law.slope(z) +
                   (drift ? step_size * temperature / 2 * gain_slope(law, z) : 0);
          },
          [=](double z) { return std::sqrt(step_size * temperature * gain(law, z)); }};
}

Step tamed_step(const Law& law, double step_size, double bound) {
  return {[=](double z) {
            const double g = law.slope(z), a = step_size / 2;
            return z - a * g / (1 + a * std::abs(g) / bound);
          },
          [=](double) { return std::sqrt(step_size * temperature); }};
}

/// The stationary density of a step, on a grid over [low, high].
class Stationary {
 public:
  Stationary(const Step& step, double low, double high) : low_(low), width_((high - low) / cells) {
    std::vector<double> kernel(static_cast<std::size_t>(cells * cells));  // [to, from]
    for (int from = 0; from < cells; ++from) {
      const double mean = step.mean(place(from)), deviation = step.deviation(place(from));
      double sum = 0;
      for (int to = 0; to < cells; ++to) {
        const double r = (place(to) - mean) / deviation;
        sum += kernel[index(to, from)] = std::exp(-r * r / 2);
      }
      for (int to = 0; to < cells; ++to) kernel[index(to, from)] /= sum;
    }
    const at::Tensor matrix = at::from_blob(kernel.data(), {cells, cells}, at::kDouble);
    density_ = at::full({cells}, 1.0 / cells, at::kDouble);
    at::Tensor power = matrix.clone();
    for (int doubled = 0; doubled < 14; ++doubled) power = power.mm(power);  // 2^14 steps
    density_ = power.mv(density_);
  }

  Quantiles law() const {
    const auto* density = density_.const_data_ptr<double>();
    return {[this, density](double x) {
              const double at = std::clamp((x - low_) / width_ - 0.5, 0.0, cells - 1.001);
              const int i = static_cast<int>(at);
              return density[i] + (at - i) * (density[i + 1] - density[i]);
            },
            low_, low_ + cells * width_};
  }

 private:
  static constexpr int cells = 500;
  double place(int i) const { return low_ + (i + 0.5) * width_; }
  static std::size_t index(int to, int from) { return static_cast<std::size_t>(to * cells + from); }
  double low_, width_;
  at::Tensor density_;
};

/// Draws of `law`, after some steps of the transition.
std::vector<double> shares_after(const SamplerConfig& config, const Law& energy,
                                 const Quantiles& law, std::int64_t n) {
  SumEngine engine(energy, 0);
  const auto transition = make_transition(config, {.seed = 12});
  ChainBatch batch{exact_draws(law, n, 1, 6), at::arange(n, at::kLong)};
  batch.memory = start_memory(transition->memory(), batch.state);
  transition->advance(engine, batch, 0, 5);
  return shares_below(batch.state, law);
}

/// Sees a distance of 0.0135.
void expect_stationary(const SamplerConfig& config, const Law& energy, const Quantiles& law,
                       const std::string& what) {
  constexpr double seen = 0.0135;
  const auto shares = shares_after(config, energy, law, DistributionTest::draws_to_see(seen));
  EXPECT_LT(DistributionTest::statistic(shares), DistributionTest::bound) << what;
  EXPECT_GT(DistributionTest::statistic_at(seen, shares), DistributionTest::bound) << what;
}

/// The largest distance of two distributions.
double apart(const Quantiles& one, const Quantiles& other, double low, double high) {
  double most = 0;
  for (int i = 0; i <= 1000; ++i) {
    const double x = low + (high - low) * i / 1000;
    most = std::max(most, std::abs(one.share(x) - other.share(x)));
  }
  return most;
}

TEST(UncorrectedLaw, LangevinOnAGaussianIsTooWide) {
  // E = x²/2: the variance is T/(1 − α/4). That of a step twice as small differs by a distance of
  // 0.013 or more.
  for (const double step_size : {0.3, 0.8, 1.6, 2.8}) {
    const double variance = temperature / (1 - step_size / 4), reach = 9 * std::sqrt(variance);
    const Quantiles law([=](double x) { return std::exp(-x * x / (2 * variance)); }, -reach, reach);
    expect_stationary(uncorrected(TransitionType::langevin, step_size), quadratic(), law,
                      "alpha " + std::to_string(step_size));
  }
}

TEST(UncorrectedLaw, StanleyHasTheStationaryLawOfItsKernel) {
  for (const bool drift : {false, true}) {
    for (const Law& law : {quadratic(), skewed()}) {
      SamplerConfig config = uncorrected(TransitionType::stanley, 0.5);
      config.drift_correction = drift;
      const Stationary found(stanley_step(law, 0.5, drift), -14, 8);
      expect_stationary(config, law, found.law(), law.name + (drift ? " with its drift" : ""));
    }
  }
}

TEST(UncorrectedLaw, TamedHasTheStationaryLawOfItsKernel) {
  const SamplerConfig config = uncorrected(TransitionType::tamed, 0.5);
  const Stationary found(tamed_step(skewed(), 0.5, 0.5 / 2 * th), -16, 8);
  expect_stationary(config, skewed(), found.law(), "tamed");
}

TEST(UncorrectedLaw, SmallStepsHaveTheLimitsThatTheDocumentsSay) {
  // The distance to the limit falls with α: by 3 or more where α falls by 4.
  const Law law = skewed();
  const double low = -14, high = 8;
  const Quantiles boltzmann(law, temperature, low, high);
  const Quantiles without(
      [&](double x) { return std::exp(-law.energy(x) / temperature) / gain(law, x); }, low, high);
  const auto distance = [&](const Step& step, const Quantiles& limit) {
    return apart(Stationary(step, low, high).law(), limit, low, high);
  };
  const double a = 0.4, b = 0.1;
  EXPECT_LT(3 * distance(stanley_step(law, b, false), without),
            distance(stanley_step(law, a, false), without));
  EXPECT_LT(3 * distance(stanley_step(law, b, true), boltzmann),
            distance(stanley_step(law, a, true), boltzmann));
  EXPECT_LT(3 * distance(tamed_step(law, b, 0.4), boltzmann),
            distance(tamed_step(law, a, 0.4), boltzmann));
  EXPECT_LT(distance(stanley_step(law, b, true), boltzmann), 0.015);
  EXPECT_LT(distance(tamed_step(law, b, 0.4), boltzmann), 0.02);
  EXPECT_GT(apart(without, boltzmann, low, high), 0.05);  // no small step removes it
}

TEST(UncorrectedLaw, TheDriftOfAQuantileLeadsToTheLaw) {
  // Two elements, of which the smaller gradient is th: γ of the other one depends on both. Exact
  // draws that move for the same time go away from the law by O(α) with the whole drift, and as far
  // at any α without it. 60,000 draws tell a distance within 0.0112 with a probability of 6e-7 to
  // be wrong.
  const Law law = skewed();
  const Quantiles exact(law, temperature, -14, 8);
  const auto distance = [&](bool drift, double step_size) {
    SamplerConfig config = uncorrected(TransitionType::stanley, step_size);
    config.threshold = {std::nullopt, 0.5};
    config.drift_correction = drift;
    SumEngine engine(law, 0);
    const auto transition = make_transition(config, {.seed = 12});
    ChainBatch batch{exact_draws(exact, 30000, 2, 6), at::arange(30000, at::kLong)};
    transition->advance(engine, batch, 0, std::lround(4.8 / step_size));
    return DistributionTest::statistic(shares_below(batch.state, exact)) / std::sqrt(60000);
  };
  constexpr double error = 0.0112;
  const double with_small = distance(true, 0.1), with_large = distance(true, 0.6);
  EXPECT_LT(with_small - error, (with_large + error) / 3) << with_small << ' ' << with_large;
  EXPECT_LT(with_small, 0.03 + error);
  EXPECT_GT(distance(false, 0.1), 0.05 + error);
}

TEST(UncorrectedLaw, TheSlopeOfTheGainIsItsDerivative) {
  // ∇E = A·z with a full A, so that a threshold that is an order statistic moves with all elements.
  const at::Tensor a = exact_draws(Quantiles(quadratic(), 1, -3, 3), 5, 5, 3).to(at::kDouble),
                   symmetric = a + a.t();
  const at::Tensor
      z = exact_draws(Quantiles(quadratic(), 1, -3, 3), 40, 5, 4).to(at::kDouble),
      v = exact_draws(Quantiles(quadratic(), 1, -3, 3), 40, 5, 5).sign().to(at::kDouble);
  for (const Threshold& threshold : {Threshold{1.5, std::nullopt}, Threshold{std::nullopt, 0.5}}) {
    const auto gain_at = [&](const at::Tensor& state) {
      const at::Tensor gradient = state.mm(symmetric).to(at::kFloat);
      return gains(gradient, thresholds(threshold, gradient)).to(at::kDouble);
    };
    constexpr double h = 1e-3;
    const at::Tensor expected = v * (gain_at(z + h * v) - gain_at(z - h * v)) / (2 * h);
    const at::Tensor gradient = z.mm(symmetric).to(at::kFloat);
    const at::Tensor found = gain_slopes(threshold, gradient, thresholds(threshold, gradient),
                                         v.mm(symmetric).to(at::kFloat), v.to(at::kFloat));
    // Where an order statistic changes hands, or γ leaves 1, within h there is no derivative.
    const double near = (found - expected).abs().lt(2e-3).to(at::kDouble).mean().item<double>();
    EXPECT_GT(near, 0.95);
    EXPECT_GT(found.ne(0).to(at::kDouble).mean().item<double>(), 0.3);
  }
}

}  // namespace
}  // namespace stanley
