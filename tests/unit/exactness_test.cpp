#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sampler/transition.hpp"

// Corrected transitions leave exp(−E/T) as it is: chains that are exact draws of it are so after
// any number of steps. Each test says its null hypothesis, at which rate it fails by chance, and
// which error it sees with which rate of missing it.

namespace stanley {
namespace {

/// E of one element and its first two derivatives; states are sums over their elements, which are
/// independent where nothing couples them.
struct Law {
  std::string name;
  std::function<double(double)> energy, slope, curvature;
};

/// The sum of a law over the elements, and a coupling c·Σ zᵢ·zᵢ₊₁.
class SumEngine final : public GradientEngine {
 public:
  SumEngine(Law law, double coupling) : law_(std::move(law)), coupling_(coupling) {}
  void load(const std::vector<at::Tensor>&) override {}
  void evaluate(const Points& points, at::Tensor& energy, at::Tensor* gradient) override {
    ++evaluations;
    const at::Tensor x = points.state.to(at::kDouble).contiguous();
    const std::int64_t n = x.size(0), d = x.size(1);
    const auto* z = x.const_data_ptr<double>();
    for (std::int64_t i = 0; i < n; ++i, z += d) {
      double sum = 0;
      for (std::int64_t j = 0; j < d; ++j) {
        const double before = j > 0 ? z[j - 1] : 0, after = j + 1 < d ? z[j + 1] : 0;
        sum += law_.energy(z[j]) + coupling_ * z[j] * before;
        if (gradient == nullptr) continue;
        gradient->mutable_data_ptr<float>()[i * d + j] =
            static_cast<float>(law_.slope(z[j]) + coupling_ * (before + after));
      }
      energy.mutable_data_ptr<double>()[i] = sum;
    }
  }
  bool has_hessian_products() const override { return true; }
  void hessian_product(const Points& points, const at::Tensor& vector,
                       at::Tensor& product) override {
    const std::int64_t n = points.state.size(0), d = points.state.size(1);
    const auto* z = points.state.const_data_ptr<float>();
    const auto* v = vector.const_data_ptr<float>();
    auto* out = product.mutable_data_ptr<float>();
    for (std::int64_t i = 0; i < n; ++i, z += d, v += d, out += d) {
      for (std::int64_t j = 0; j < d; ++j) {
        const double before = j > 0 ? static_cast<double>(v[j - 1]) : 0,
                     after = j + 1 < d ? static_cast<double>(v[j + 1]) : 0;
        out[j] = static_cast<float>(law_.curvature(static_cast<double>(z[j])) *
                                        static_cast<double>(v[j]) +
                                    coupling_ * (before + after));
      }
    }
  }
  double energy_error() const override { return 1e-12; }
  bool batch_invariant() const override { return true; }
  std::string description() const override { return "the sum of " + law_.name; }

  std::int64_t evaluations = 0;

 private:
  Law law_;
  double coupling_;
};

Law quadratic() {
  return {"x²/2", [](double x) { return x * x / 2; }, [](double x) { return x; },
          [](double) { return 1.0; }};
}

/// Flat in the middle, steep outside: γ falls there.
Law quartic() {
  return {"x⁴", [](double x) { return x * x * x * x; }, [](double x) { return 4 * x * x * x; },
          [](double x) { return 12 * x * x; }};
}

/// Skewed, so that nothing cancels by symmetry.
Law skewed() {
  return {"eˣ − x", [](double x) { return std::exp(x) - x; },
          [](double x) { return std::exp(x) - 1; }, [](double x) { return std::exp(x); }};
}

/// Quantiles of exp(−E/T) of one element in [low, high], by the trapezoid rule on a fine grid.
class Quantiles {
 public:
  Quantiles(const Law& law, double temperature, double low, double high)
      : low_(low), step_((high - low) / cells) {
    cumulated_.push_back(0);
    const auto density = [&](int i) {
      return std::exp(-law.energy(low + i * step_) / temperature);
    };
    for (int i = 1; i <= cells; ++i) {
      cumulated_.push_back(cumulated_.back() + (density(i - 1) + density(i)) / 2);
    }
    const double total = cumulated_.back();
    for (double& one : cumulated_) one /= total;
  }

  double at(double u) const {
    const auto above = std::ranges::upper_bound(cumulated_, u);
    const auto i = std::clamp<std::ptrdiff_t>(above - cumulated_.begin(), 1, cells);
    const double before = cumulated_[static_cast<std::size_t>(i - 1)],
                 after = cumulated_[static_cast<std::size_t>(i)];
    return low_ + step_ * (static_cast<double>(i - 1) + (u - before) / (after - before));
  }
  /// The share of the law below x.
  double share(double x) const {
    const double place = std::clamp((x - low_) / step_, 0.0, static_cast<double>(cells) - 1e-9);
    const auto i = static_cast<std::size_t>(place);
    const double rest = place - static_cast<double>(i);
    return cumulated_[i] + rest * (cumulated_[i + 1] - cumulated_[i]);
  }

 private:
  static constexpr int cells = 20000;
  double low_, step_;
  std::vector<double> cumulated_;
};

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
  partial.trajectory = {.steps = 2, .jitter = 0.3, .refreshment = 0.3};
  cases.push_back({"hmc with partial refreshment", partial});
  return cases;
}

/// n exact draws of d independent elements, [n, d].
at::Tensor exact_draws(const Quantiles& law, std::int64_t n, std::int64_t d, std::uint32_t seed) {
  at::Tensor draws = at::empty({n, d});
  auto* out = draws.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < d; ++j) {
      out[i * d + j] = static_cast<float>(law.at(
          random::uniform_double({.seed = seed, .stream = random::Stream::synthetic_data},
                                 static_cast<std::uint32_t>(i), 0, static_cast<std::uint32_t>(j))));
    }
  }
  return draws;
}

/// The largest distance of the empirical distribution of shares from the uniform one, times √n.
double kolmogorov(std::vector<double> shares) {
  std::ranges::sort(shares);
  const auto n = static_cast<double>(shares.size());
  double most = 0;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    const auto rank = static_cast<double>(i);
    most = std::max({most, (rank + 1) / n - shares[i], shares[i] - rank / n});
  }
  return most * std::sqrt(n);
}

/// P(√n·D > 2.74) < 6e-7 under the null hypothesis (Massart's inequality: 2·exp(−2·2.74²)).
constexpr double never = 2.74;

struct Moved {
  double kolmogorov, acceptance;
  std::int64_t evaluations;
};

/// Exact draws of `law` in [low, high], after so many steps.
Moved moved(const SamplerConfig& config, const Law& law, double low, double high, std::int64_t d,
            std::int64_t steps, std::int64_t n) {
  const Quantiles exact(law, temperature, low, high);
  SumEngine engine(law, 0);
  const auto transition = make_transition(config, {.seed = 11});
  ChainBatch batch{exact_draws(exact, n, d, 5), at::arange(n, at::kLong)};
  batch.memory = start_memory(transition->memory(), batch.state);
  if (config.type == TransitionType::preconditioned_langevin) {
    batch.memory[0].copy_(at::arange(1, d + 1).to(at::kFloat).expand_as(batch.memory[0]));
  }
  transition->freeze();
  const at::Tensor told = transition->advance(engine, batch, 0, steps);
  std::vector<double> shares;
  const auto* z = batch.state.const_data_ptr<float>();
  for (std::int64_t i = 0; i < n * d; ++i) shares.push_back(exact.share(static_cast<double>(z[i])));
  return {kolmogorov(shares), sums_of(told)[0] / static_cast<double>(n), engine.evaluations};
}

TEST(Exactness, ExactDrawsStayExact) {
  for (const Case& one : all_corrected()) {
    for (const Law& law : {quadratic(), quartic(), skewed()}) {
      for (const std::int64_t d : {1, 3}) {
        const Moved found = moved(one.sampler, law, -8, 6, d, 5, 60000 / d);
        EXPECT_LT(found.kolmogorov, never) << one.name << ", " << law.name << ", d " << d;
        EXPECT_GT(found.acceptance, 0.1) << one.name << ", " << law.name << ", d " << d;
        EXPECT_LT(found.acceptance, 0.9999) << one.name << ", " << law.name << ", d " << d;
      }
    }
  }
}

TEST(Exactness, ExactDrawsInABoxStayExact) {
  for (Case one : all_corrected()) {
    one.sampler.box = {{-0.4, 0.9}};
    for (const Law& law : {quadratic(), quartic(), skewed()}) {
      const Moved found = moved(one.sampler, law, -0.4, 0.9, 2, 5, 40000);
      EXPECT_LT(found.kolmogorov, never) << one.name << ", " << law.name;
      EXPECT_GT(found.acceptance, 0.1) << one.name << ", " << law.name;
    }
  }
}

}  // namespace
}  // namespace stanley
