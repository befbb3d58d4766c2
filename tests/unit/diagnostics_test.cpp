#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdint>
#include <functional>
#include <limits>
#include <numbers>
#include <numeric>
#include <string>
#include <vector>

#include "config/error.hpp"
#include "diagnostics/autocovariance.hpp"
#include "diagnostics/convergence.hpp"
#include "diagnostics/distributions.hpp"
#include "diagnostics/fourier.hpp"
#include "diagnostics/nested_rhat.hpp"
#include "diagnostics/ranks.hpp"
#include "diagnostics/summary.hpp"
#include "random/normal.hpp"

// Numbers that are known, laws that are known, and straight references. Equality with ArviZ over
// many shapes: tests/tools/test_diagnostics.py.

namespace stanley {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

/// Chains of one length, [chain][draw].
struct Chains {
  std::int64_t chains, draws;
  std::vector<double> values = std::vector<double>(static_cast<std::size_t>(chains * draws));

  ChainDraws view() const { return {values, chains, draws}; }
  double& at(std::int64_t chain, std::int64_t draw) {
    return values[static_cast<std::size_t>(chain * draws + draw)];
  }
};

/// AR(1) chains that begin in their law, N(0, 1); independent draws with correlation 0.
Chains autoregressive(std::int64_t chains, std::int64_t draws, double correlation,
                      std::uint32_t seed) {
  const random::Key key{.seed = seed};
  Chains all{chains, draws};
  for (std::int64_t c = 0; c < chains; ++c) {
    for (std::int64_t t = 0; t < draws; ++t) {
      const double noise = static_cast<double>(
          random::normal(key, static_cast<std::uint32_t>(c), static_cast<std::uint64_t>(t)));
      all.at(c, t) = t == 0 ? noise
                            : correlation * all.at(c, t - 1) +
                                  std::sqrt(1 - correlation * correlation) * noise;
    }
  }
  return all;
}

/// Each value x of chain c becomes change(c, x).
Chains changed(Chains all, const std::function<double(std::int64_t, double)>& change) {
  for (std::int64_t c = 0; c < all.chains; ++c) {
    for (std::int64_t t = 0; t < all.draws; ++t) all.at(c, t) = change(c, all.at(c, t));
  }
  return all;
}

void expect_near_relative(double found, double expected, double tolerance = 1e-12) {
  EXPECT_NEAR(found, expected, tolerance * std::abs(expected));
}

TEST(Distributions, InverseNormalKnownNumbers) {
  EXPECT_EQ(inverse_normal(0.5), 0);
  expect_near_relative(inverse_normal(0.975), 1.959963984540054, 1e-15);
  expect_near_relative(inverse_normal(0.2), -0.8416212335729142, 1e-15);
  expect_near_relative(inverse_normal(0.001), -3.090232306167813, 1e-15);
  expect_near_relative(inverse_normal(1e-10), -6.361340902404056, 1e-15);
  expect_near_relative(inverse_normal(1e-300), -37.0470962993612, 1e-14);
  for (double p = 0.0005; p < 0.9999; p += 0.0007) {  // both sides of each border
    EXPECT_NEAR(std::erfc(-inverse_normal(p) / std::numbers::sqrt2) / 2, p, 1e-15) << p;
  }
}

TEST(Distributions, IncompleteBetaKnownNumbers) {
  expect_near_relative(incomplete_beta(0.4, 2, 3), 0.5248);
  expect_near_relative(incomplete_beta(0.1, 1.5, 7.25), 0.3357217158432781);
  expect_near_relative(incomplete_beta(0.25, 30, 70), 0.1358149042834277);
  expect_near_relative(incomplete_beta(0.3005, 300001, 700001), 0.862179239657585, 1e-8);
  expect_near_relative(incomplete_beta(0.5002, 5e5, 5e5), 0.6554217106756337, 1e-8);
  expect_near_relative(incomplete_beta(0.3, 1, 4), 1 - std::pow(0.7, 4));
  expect_near_relative(incomplete_beta(0.9, 5, 1), std::pow(0.9, 5));
  EXPECT_EQ(incomplete_beta(0, 2, 3), 0);
  EXPECT_EQ(incomplete_beta(1, 2, 3), 1);
}

TEST(Fourier, AsTheStraightSumAndBack) {
  constexpr std::size_t n = 16;
  const Chains numbers = autoregressive(2, n, 0, 3);
  std::vector<double> real(numbers.values.begin(), numbers.values.begin() + n);
  std::vector<double> imaginary(numbers.values.begin() + n, numbers.values.end());
  const std::vector<double> real_before = real, imaginary_before = imaginary;
  const Fourier fourier(n);
  fourier.forward(real.data(), imaginary.data());
  for (std::size_t place = 0; place < n; ++place) {
    std::size_t frequency = 0;  // the place's bits, reversed
    for (std::size_t bit = 1; bit < n; bit *= 2) {
      frequency = 2 * frequency + ((place & bit) != 0 ? 1 : 0);
    }
    std::complex<double> sum;
    for (std::size_t j = 0; j < n; ++j) {
      const double angle = -2 * std::numbers::pi * static_cast<double>(j * frequency) / n;
      sum += std::complex(real_before[j], imaginary_before[j]) * std::polar(1.0, angle);
    }
    EXPECT_NEAR(real[place], sum.real(), 1e-13);
    EXPECT_NEAR(imaginary[place], sum.imag(), 1e-13);
  }
  fourier.backward(real.data(), imaginary.data());
  for (std::size_t j = 0; j < n; ++j) {
    EXPECT_NEAR(real[j] / n, real_before[j], 1e-14);
    EXPECT_NEAR(imaginary[j] / n, imaginary_before[j], 1e-14);
  }
}

/// By the definition.
std::vector<double> slow_autocovariance(const ChainDraws& all) {
  std::vector<double> of_lag(static_cast<std::size_t>(all.draws));
  for (std::int64_t c = 0; c < all.chains; ++c) {
    const auto x = all.chain(c);
    const double mean = std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(all.draws);
    for (std::size_t lag = 0; lag < x.size(); ++lag) {
      double sum = 0;
      for (std::size_t t = lag; t < x.size(); ++t) sum += (x[t] - mean) * (x[t - lag] - mean);
      of_lag[lag] += sum / static_cast<double>(all.values.size());
    }
  }
  return of_lag;
}

TEST(Autocovariance, AsTheStraightSum) {
  for (const std::int64_t chains : {1, 2, 3, 6}) {
    for (const std::int64_t draws : {1, 2, 3, 31, 32, 33}) {
      const Chains all = autoregressive(chains, draws, 0.7, 5);
      const auto found = autocovariance(all.view()), expected = slow_autocovariance(all.view());
      ASSERT_EQ(found.size(), expected.size());
      for (std::size_t lag = 0; lag < found.size(); ++lag) {
        EXPECT_NEAR(found[lag], expected[lag], 1e-14) << chains << " " << draws << " " << lag;
      }
    }
  }
}

TEST(Autocovariance, AutocorrelationOfAlternatingDraws) {
  const std::vector<double> draws{1, -1, 1, -1, 1, -1, 1, -1};
  const std::vector<double> found = autocorrelation({draws, 1, 8});
  for (std::size_t lag = 0; lag < 8; ++lag) {
    EXPECT_NEAR(found[lag], (lag % 2 == 0 ? 1 : -1) * (1 - static_cast<double>(lag) / 8), 1e-15);
  }
}

TEST(Autocovariance, NoNumberWhereThereIsNone) {
  const std::vector<double> equal(6, 0.1), broken{1, 2, infinity, 4, 5, 6};
  EXPECT_EQ(autocovariance({equal, 2, 3}), std::vector<double>(3, 0.0));
  EXPECT_TRUE(std::isnan(autocorrelation({equal, 2, 3})[1]));
  for (const double value : autocovariance({broken, 2, 3})) EXPECT_TRUE(std::isnan(value));
}

/// Null hypothesis: the autocorrelation of AR(1) chains at lag 1 is their coefficient, 0.9, less
/// what the chains' own means take. The mean of 10 sets of 8 × 2,000 draws was 0.8984 ± 0.0036 in
/// 99.9 % of cases (8,000 sets, simulated): false alarms 0.1 %.
TEST(Autocovariance, KnownAutocorrelation) {
  double sum = 0;
  for (std::uint32_t set = 0; set < 10; ++set) {
    sum += autocorrelation(autoregressive(8, 2000, 0.9, set).view())[1];
  }
  EXPECT_NEAR(sum / 10, 0.8984, 0.0036);
}

TEST(Ranks, SortedAsTheLibrarySorts) {
  Chains all = autoregressive(1, 3000, 0, 8);
  for (std::int64_t t = 0; t < 1000; ++t) all.at(0, t) = std::round(4 * all.at(0, t));  // ties, −0
  all.at(0, 1500) = infinity;
  all.at(0, 1501) = -infinity;
  all.at(0, 1502) = std::numeric_limits<double>::denorm_min();
  all.at(0, 1503) = 1e300;
  std::vector<double> expected = all.values;
  std::ranges::stable_sort(expected);
  const Ascending found = sorted(all.values);
  EXPECT_EQ(found.values, expected);
  std::vector<bool> seen(3000);
  for (std::size_t i = 0; i < 3000; ++i) {
    EXPECT_EQ(all.values[found.places[i]], found.values[i]);
    seen[found.places[i]] = true;
  }
  EXPECT_EQ(std::ranges::count(seen, true), 3000);
}

TEST(Ranks, FoldedAboutTheMedian) {
  for (const std::int64_t n : {5, 6, 500}) {
    const Chains all = changed(autoregressive(1, n, 0, 8),
                               [](std::int64_t, double x) { return std::round(10 * x) / 8; });
    const Ascending order = sorted(all.values), found = folded(order);
    std::vector<double> far;
    for (const double x : all.values) far.push_back(std::abs(x - median_of(order.values)));
    for (std::size_t i = 0; i < far.size(); ++i) EXPECT_EQ(found.values[i], far[found.places[i]]);
    std::ranges::sort(far);
    EXPECT_EQ(found.values, far);
  }
}

TEST(Ranks, NormalScoresOfTies) {
  const std::vector<double> scores = normal_scores(sorted(std::vector{3.0, 1.0, 3.0, 2.0}));
  const auto score = [](double rank) { return inverse_normal((rank - 0.375) / 4.25); };
  EXPECT_DOUBLE_EQ(scores[0], score(3.5));
  EXPECT_DOUBLE_EQ(scores[1], score(1));
  EXPECT_DOUBLE_EQ(scores[2], score(3.5));
  EXPECT_DOUBLE_EQ(scores[3], score(2));
}

TEST(Ranks, QuantilesBetweenTwoNumbers) {
  const std::vector<double> numbers{1, 2, 4, 8};
  EXPECT_EQ(quantile_of(numbers, 0), 1);
  EXPECT_EQ(quantile_of(numbers, 0.5), 3);
  EXPECT_EQ(quantile_of(numbers, 1), 8);
  EXPECT_NEAR(quantile_of(numbers, 0.95), 7.4, 1e-14);
  EXPECT_EQ(quantile_of(std::vector{7.0}, 0.3), 7);
  EXPECT_NE(quantile_of(std::vector<double>(2997, 1.0 / 3), 0.05), 1.0 / 3);  // as ArviZ: a bit off
  EXPECT_EQ(median_of(numbers), 3);
  EXPECT_EQ(median_of(std::vector{1.0, 2.0, 4.0}), 2);
}

/// From ArviZ 0.23.4.
TEST(Convergence, KnownNumbers) {
  const std::vector<double> draws{0.3, -1.2, 0.8,  2.1, 0.4, -0.7, 1.1,
                                  1.5, 0.2,  -0.4, 0.9, 3.3, 0.2,  -1.9};
  const ConvergenceSummary found = summarize({draws, 2, 7});
  expect_near_relative(found.mean, 0.4714285714285714);
  expect_near_relative(found.sd, 1.333836901244256);
  expect_near_relative(found.mcse_mean, 0.37065077318044726);
  expect_near_relative(found.mcse_sd, 0.2519636476982805);
  for (std::size_t i = 0; i < summary_levels.size(); ++i) {
    expect_near_relative(found.quantiles[i], std::vector{-1.445, 0.35, 2.52}[i]);
    expect_near_relative(found.mcse_quantiles[i], std::vector{0.6, 0.3, 1.1}[i]);
  }
  expect_near_relative(found.ess_bulk, 12.9501749525715);
  expect_near_relative(found.ess_tail, 12.9501749525715);
  expect_near_relative(found.rhat_bulk, 0.8258842614551417);
  expect_near_relative(found.rhat_folded, 0.8944678385968301);
  EXPECT_EQ(found.rhat, found.rhat_folded);
  EXPECT_FALSE(found.nested_rhat);
}

/// From ArviZ 0.23.4: ties, and sequences that Geyer's rules cut and smooth.
TEST(Convergence, KnownNumbersOfCorrelatedDraws) {
  const std::vector<double> draws{0,  -3, 0,  1,  1,  2,  2,  1, 2, 1, 0,  -1,
                                  0,  0,  1,  0,  0,  -1, 0,  0, 1, 1, 0,  1,  // the second chain:
                                  -1, -3, -4, -5, -3, -2, -1, 0, 1, 1, 0,  1,
                                  0,  -1, 0,  2,  1,  -1, -1, 0, 0, 1, -1, 0};
  const Convergence found({draws, 2, 24});
  expect_near_relative(found.ess_mean(), 13.168191061462526);
  expect_near_relative(found.ess_bulk(), 16.019287197007454);
  expect_near_relative(found.ess_tail(), 14.5585123436999);
  expect_near_relative(found.rhat_bulk(), 1.098202969286792);
  expect_near_relative(found.rhat_folded(), 1.12479501084203);
  expect_near_relative(found.mcse_mean(), 0.41769376946044234);
  expect_near_relative(found.mcse_sd(), 0.36004893959537293);
}

/// Null hypothesis: of independent draws the ESS is their number, less what the end of the sequence
/// takes. Over 50 quantities of 4 × 1,000 draws the means of ESS/n and of R-hat lay within these
/// limits in 99.9 % of cases each (20,000 quantities, simulated): false alarms 0.4 %.
TEST(Convergence, IndependentDraws) {
  double mean = 0, bulk = 0, tail = 0, rhat = 0;
  for (std::uint32_t set = 0; set < 50; ++set) {
    const Chains all = autoregressive(4, 1000, 0, set);
    const Convergence found(all.view());
    mean += found.ess_mean() / 4000;
    bulk += found.ess_bulk() / 4000;
    tail += found.ess_tail() / 4000;
    rhat += found.rhat();
  }
  EXPECT_NEAR(mean / 50, 0.9849, 0.0205);
  EXPECT_NEAR(bulk / 50, 0.9849, 0.0205);
  EXPECT_NEAR(tail / 50, 0.9616, 0.0191);
  EXPECT_NEAR(rhat / 50, 1.0003, 0.0002);
}

/// Null hypothesis: the ESS of AR(1) chains with coefficient ρ is n·(1 − ρ)/(1 + ρ), n/19 here. The
/// mean of 10 sets of 8 × 2,000 draws was within these limits in 99.9 % of cases (8,000 sets,
/// simulated): false alarms 0.2 %.
TEST(Convergence, KnownAutocorrelationTime) {
  double mean = 0, bulk = 0;
  for (std::uint32_t set = 0; set < 10; ++set) {
    const Chains all = autoregressive(8, 2000, 0.9, set);
    const Convergence found(all.view());
    mean += found.ess_mean() * 19 / 16000;
    bulk += found.ess_bulk() * 19 / 16000;
  }
  EXPECT_NEAR(mean / 10, 1.003, 0.098);
  EXPECT_NEAR(bulk / 10, 1.004, 0.098);
}

TEST(Convergence, ShiftedAndScaledChains) {
  const Chains same = autoregressive(4, 500, 0.3, 1);
  EXPECT_LT(Convergence(same.view()).rhat(), rhat_limit);
  const Chains shifted = changed(same, [](std::int64_t c, double x) { return c == 0 ? x + 3 : x; });
  EXPECT_GT(Convergence(shifted.view()).rhat_bulk(), 1.3);
  EXPECT_LT(Convergence(shifted.view()).ess_bulk(), 20);
  const Chains scaled = changed(same, [](std::int64_t c, double x) { return c == 0 ? 5 * x : x; });
  const Convergence found(scaled.view());
  EXPECT_LT(found.rhat_bulk(), rhat_limit);
  EXPECT_GT(found.rhat_folded(), 1.1);
  EXPECT_EQ(found.rhat(), found.rhat_folded());
}

TEST(Convergence, HalvesThatDrift) {
  Chains all = autoregressive(4, 400, 0, 2);
  for (std::int64_t c = 0; c < 4; ++c) {
    for (std::int64_t t = 0; t < 400; ++t) all.at(c, t) += static_cast<double>(t) / 100;
  }
  EXPECT_GT(Convergence(all.view()).rhat(), 1.2);  // chains resemble each other: halves don't
}

/// Order and scale change nothing that ranks say, and scale all that has units.
TEST(Convergence, OfRanksAndUnits) {
  const Chains all = autoregressive(5, 301, 0.6, 4);
  const Chains twice = changed(all, [](std::int64_t, double x) { return 2 * x; });
  const Chains cubed = changed(all, [](std::int64_t, double x) { return x * x * x; });
  const Convergence found(all.view()), of_twice(twice.view()), of_cubed(cubed.view());
  EXPECT_EQ(of_cubed.rhat_bulk(), found.rhat_bulk());
  EXPECT_EQ(of_cubed.ess_bulk(), found.ess_bulk());
  EXPECT_EQ(of_cubed.ess_tail(), found.ess_tail());
  EXPECT_EQ(of_twice.mcse_mean(), 2 * found.mcse_mean());
  EXPECT_EQ(of_twice.mcse_sd(), 2 * found.mcse_sd());
  EXPECT_EQ(of_twice.mcse_quantile(0.3), 2 * found.mcse_quantile(0.3));
}

TEST(Convergence, NoNumberWhereThereIsNone) {
  for (const double broken : {not_a_number, infinity, -infinity}) {
    Chains all = autoregressive(3, 20, 0, 1);
    all.at(1, 7) = broken;
    const ConvergenceSummary found = summarize(all.view(), 3);
    EXPECT_EQ(found.not_finite, 1);
    for (const double value : {found.mean, found.sd, found.mcse_mean, found.mcse_sd, found.ess_bulk,
                               found.ess_tail, found.ess_mean, found.rhat, found.quantiles[1],
                               found.mcse_quantiles[1], found.nested_rhat.value()}) {
      EXPECT_TRUE(std::isnan(value));
    }
  }
  const Chains one = autoregressive(1, 20, 0, 1), three = autoregressive(4, 3, 0, 1);
  EXPECT_TRUE(std::isnan(Convergence(one.view()).rhat()));
  EXPECT_GT(Convergence(one.view()).ess_bulk(), 5);
  EXPECT_TRUE(std::isnan(Convergence(three.view()).ess_mean()));
  EXPECT_TRUE(std::isfinite(Convergence(three.view()).quantile(0.3)));
}

TEST(Convergence, ConstantChains) {
  const std::vector<double> equal(4 * 11, 0.1);
  const ConvergenceSummary found = summarize({equal, 4, 11});
  EXPECT_EQ(found.mean, 0.1);
  EXPECT_EQ(found.sd, 0);
  EXPECT_EQ(found.ess_bulk, 40);  // without the middle draws
  EXPECT_EQ(found.mcse_mean, 0);
  EXPECT_EQ(found.mcse_quantiles[1], 0);
  EXPECT_TRUE(std::isnan(found.rhat));
  EXPECT_TRUE(std::isnan(found.mcse_sd));
  const Chains stuck =
      changed(Chains{4, 10}, [](std::int64_t c, double) { return 0.1 * double(c); });
  EXPECT_EQ(Convergence(stuck.view()).rhat(), infinity);
}

TEST(Convergence, OtherShapesAreRefused) {
  const std::vector<double> draws(12);
  EXPECT_THROW(Convergence({draws, 5, 2}), Error);
  EXPECT_THROW(Convergence({draws, 0, 0}), Error);
  EXPECT_THROW(summarize({draws, 3, 4}, 2), Error);
  EXPECT_THROW(autocovariance({draws, 4, 4}), Error);
}

/// By the formulas of Margossian et al., definition 2.2, one number after the other.
double slow_nested_rhat(Chains all, std::int64_t superchains) {
  const std::int64_t chains = all.chains / superchains;
  const auto k_count = static_cast<double>(superchains), m_count = static_cast<double>(chains),
             n_count = static_cast<double>(all.draws);
  const auto chain_mean = [&](std::int64_t c) {
    double sum = 0;
    for (std::int64_t n = 0; n < all.draws; ++n) sum += all.at(c, n);
    return sum / n_count;
  };
  const auto super_mean = [&](std::int64_t k) {
    double sum = 0;
    for (std::int64_t m = 0; m < chains; ++m) sum += chain_mean(k * chains + m);
    return sum / m_count;
  };
  double mean = 0, between = 0, within = 0;
  for (std::int64_t k = 0; k < superchains; ++k) mean += super_mean(k) / k_count;
  for (std::int64_t k = 0; k < superchains; ++k) {
    between += std::pow(super_mean(k) - mean, 2) / (k_count - 1);
    double of_means = 0, of_draws = 0;
    for (std::int64_t c = k * chains; c < (k + 1) * chains; ++c) {
      of_means += std::pow(chain_mean(c) - super_mean(k), 2);
      double squares = 0;
      for (std::int64_t n = 0; n < all.draws; ++n) {
        squares += std::pow(all.at(c, n) - chain_mean(c), 2);
      }
      if (all.draws > 1) of_draws += squares / (n_count - 1) / m_count;
    }
    within += (of_draws + (chains > 1 ? of_means / (m_count - 1) : 0)) / k_count;
  }
  return std::sqrt((within + between) / within);
}

TEST(NestedRhat, AsTheStraightFormula) {
  for (const std::int64_t superchains : {2, 3, 8}) {
    for (const std::int64_t chains : {1, 2, 5}) {
      for (const std::int64_t draws : {1, 2, 7}) {
        if (chains * draws == 1) continue;
        const Chains all = changed(
            autoregressive(superchains * chains, draws, 0.5, 6),
            [&](std::int64_t c, double x) { return x + 0.3 * static_cast<double>(c / chains); });
        expect_near_relative(nested_rhat(all.view(), superchains),
                             slow_nested_rhat(all, superchains), 1e-13);
      }
    }
  }
}

/// Chains alone: R-hat of whole chains, but for the 1/N that it leaves out.
TEST(NestedRhat, OneChainInEach) {
  const Chains all = autoregressive(6, 50, 0.8, 7);
  double within = 0;
  for (std::int64_t c = 0; c < 6; ++c) within += variance_of(all.view().chain(c)) / 6;
  const double rhat_squared = (variance_of(chain_means(all.view())) * 50 / within + 49) / 50;
  expect_near_relative(nested_rhat(all.view(), 6), std::sqrt(rhat_squared + 1.0 / 50), 1e-14);
}

/// 200 super-chains of 20 chains of one draw: 1 + 1/M under the square root where they are
/// independent, within 4 standard errors, √(2/199)/20 each (false alarms 1 in 15,000); nested R-hat
/// sees what super-chains have in common.
TEST(NestedRhat, OneDrawOfEachChain) {
  const Chains all = autoregressive(4000, 1, 0, 9);
  EXPECT_NEAR(std::pow(nested_rhat(all.view(), 200), 2), 1.05, 4 * std::sqrt(2.0 / 199) / 20);
  EXPECT_LT(nested_rhat(all.view(), 200), nested_rhat_limit(20));
  const Chains starts = changed(
      all, [](std::int64_t c, double x) { return x + 0.5 * static_cast<double>(c / 20 % 2); });
  EXPECT_GT(nested_rhat(starts.view(), 200), nested_rhat_limit(20));
}

TEST(NestedRhat, Limits) {
  const Chains all = autoregressive(6, 4, 0, 7), single = autoregressive(6, 1, 0, 7);
  EXPECT_TRUE(std::isnan(nested_rhat(all.view(), 1)));
  EXPECT_TRUE(std::isnan(nested_rhat(single.view(), 6)));
  EXPECT_THROW(nested_rhat(all.view(), 4), Error);
  EXPECT_THROW(nested_rhat(all.view(), 0), Error);
  const auto in_pairs = [](std::int64_t c, double) { return static_cast<double>(c / 2); };
  EXPECT_EQ(nested_rhat(changed(all, in_pairs).view(), 3), infinity);
  EXPECT_TRUE(std::isnan(nested_rhat(Chains{6, 4}.view(), 3)));
}

TEST(WhereNotMixed, SaysNothingOfChainsThatHave) {
  const Chains all = autoregressive(8, 500, 0.2, 3);
  EXPECT_EQ(where_not_mixed("energy", summarize(all.view(), 4)), "");
}

TEST(WhereNotMixed, SaysWhere) {
  ConvergenceSummary summary = summarize(autoregressive(8, 500, 0.2, 3).view(), 4);
  summary.rhat_bulk = 1.063;
  EXPECT_EQ(where_not_mixed("energy", summary),
            "energy: the chains have not mixed: their locations differ (R-hat 1.063, limit 1.01)");
  summary.rhat_bulk = 1.01;  // at the limit
  summary.rhat_folded = 1.2;
  summary.ess_bulk = 399.4;
  summary.ess_tail = 212;
  summary.nested_rhat = 1.5;
  EXPECT_EQ(where_not_mixed("energy", summary),
            "energy: the chains have not mixed: their scales differ (R-hat 1.200, limit 1.01); "
            "their starts still tell (nested R-hat 1.500, limit 1.233); there are few independent "
            "draws in the bulk (ESS 399 of 400); there are few independent draws in the tails (ESS "
            "212 of 400)");
}

TEST(WhereNotMixed, SaysWhyItCannotBeTold) {
  const auto told = [](const Chains& all, std::int64_t superchains) {
    return where_not_mixed("energy", summarize(all.view(), superchains));
  };
  const std::string start = "energy: whether the chains have mixed can't be told: ";
  Chains all = autoregressive(4, 10, 0, 3);
  all.at(2, 2) = not_a_number;
  EXPECT_EQ(told(all, 2), start + "1 of 40 draws are not finite");
  EXPECT_EQ(told(Chains{2, 8}, 0), start + "all draws are equal");
  EXPECT_EQ(told(autoregressive(100, 3, 0, 3), 0),
            start + "R-hat and ESS need four draws of each chain");
  EXPECT_EQ(told(autoregressive(100, 1, 0, 3), 1),
            start + "R-hat and ESS need four draws of each chain");
  EXPECT_EQ(told(autoregressive(100, 1, 0, 3), 2), "");  // nested R-hat tells it
}

}  // namespace
}  // namespace stanley
