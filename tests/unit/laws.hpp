#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "energy/gradient_engine.hpp"
#include "random/random.hpp"

// Laws whose shares are known to 1e-8, and a test of whether draws are of one.

namespace stanley {

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

inline Law quadratic() {
  return {"x²/2", [](double x) { return x * x / 2; }, [](double x) { return x; },
          [](double) { return 1.0; }};
}

/// Flat in the middle, steep outside: γ falls there.
inline Law quartic() {
  return {"x⁴", [](double x) { return x * x * x * x; }, [](double x) { return 4 * x * x * x; },
          [](double x) { return 12 * x * x; }};
}

/// Skewed, so that nothing cancels by symmetry.
inline Law skewed() {
  return {"eˣ − x", [](double x) { return std::exp(x) - x; },
          [](double x) { return std::exp(x) - 1; }, [](double x) { return std::exp(x); }};
}

/// Shares and quantiles of a law of one element in [low, high], by the trapezoid rule on a fine
/// grid.
class Quantiles {
 public:
  /// `density` need not be normalised.
  Quantiles(const std::function<double(double)>& density, double low, double high)
      : low_(low), step_((high - low) / cells) {
    cumulated_.push_back(0);
    double before = density(low);
    for (int i = 1; i <= cells; ++i) {
      const double here = density(low + i * step_);
      cumulated_.push_back(cumulated_.back() + (before + here) / 2);
      before = here;
    }
    const double total = cumulated_.back();
    for (double& one : cumulated_) one /= total;
  }

  /// Of exp(−E/T).
  Quantiles(const Law& law, double temperature, double low, double high)
      : Quantiles([&](double x) { return std::exp(-law.energy(x) / temperature); }, low, high) {}

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

/// n draws of d independent elements, [n, d].
inline at::Tensor exact_draws(const Quantiles& law, std::int64_t n, std::int64_t d,
                              std::uint32_t seed) {
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

/// A test of the null hypothesis that n independent draws are of a law, by the largest distance D
/// between their distribution and the law's (Kolmogorov and Smirnov). Massart's inequality,
/// P(√n·D > x) ≤ 2·exp(−2x²) for every n, bounds both of its errors: it rejects draws of the law
/// with a probability below 6e-7, and lets a law at a distance of 2x/√n or more pass with one below
/// that.
struct DistributionTest {
  static constexpr double bound = 2.74;  // x

  /// Draws that it takes to see a distance.
  static std::int64_t draws_to_see(double distance) {
    return static_cast<std::int64_t>(std::ceil(std::pow(2 * bound / distance, 2)));
  }

  /// √n·D of the shares of the law that lie below the draws.
  static double statistic(std::vector<double> shares) {
    std::ranges::sort(shares);
    const auto n = static_cast<double>(shares.size());
    double most = 0;
    for (std::size_t i = 0; i < shares.size(); ++i) {
      const auto rank = static_cast<double>(i);
      most = std::max({most, (rank + 1) / n - shares[i], shares[i] - rank / n});
    }
    return most * std::sqrt(n);
  }

  /// Of draws of a law at this distance from the one whose shares these are.
  static double statistic_at(double distance, std::vector<double> shares) {
    for (double& share : shares) share *= 1 - distance;
    return statistic(std::move(shares));
  }
};

inline std::vector<double> shares_below(const at::Tensor& states, const Quantiles& law) {
  std::vector<double> shares;
  const at::Tensor all = states.contiguous();
  const auto* z = all.const_data_ptr<float>();
  for (std::int64_t i = 0; i < all.numel(); ++i) {
    shares.push_back(law.share(static_cast<double>(z[i])));
  }
  return shares;
}

}  // namespace stanley
