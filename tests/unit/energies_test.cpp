#include "evaluation/energies.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <vector>

#include "evaluation/roc.hpp"

namespace stanley {
namespace {

using Numbers = std::vector<double>;

double order(double below, double above) {
  if (above == below) return 0.5;
  return above > below ? 1 : 0;
}

/// Area and DeLong's variance pair by pair, as the formulas say.
struct ByPairs {
  ByPairs(const Numbers& below, const Numbers& above) {
    Numbers rows, columns;
    for (const double y : above) {
      double sum = 0;
      for (const double x : below) sum += order(x, y);
      rows.push_back(sum / static_cast<double>(below.size()));
    }
    for (const double x : below) {
      double sum = 0;
      for (const double y : above) sum += order(x, y);
      columns.push_back(sum / static_cast<double>(above.size()));
    }
    area = std::accumulate(rows.begin(), rows.end(), 0.0) / static_cast<double>(rows.size());
    for (const Numbers& part : {rows, columns}) {
      double squares = 0;
      for (const double one : part) squares += (one - area) * (one - area);
      variance += squares / static_cast<double>(part.size() - 1) / static_cast<double>(part.size());
    }
  }
  double area = 0, variance = 0;
};

double odds(double share) { return std::log(share / (1 - share)); }

TEST(Auroc, IsThatOfAllPairsWithTiesCountedHalf) {
  const Numbers below{0.3, 1, 1, 2, -4, 0.3, 7}, above{1, 2, 2, 9, 0.3};
  const ByPairs expected(below, above);
  EXPECT_DOUBLE_EQ(expected.area, 24.0 / 35);  // counted by hand
  const Auroc found = auroc(below, above);
  EXPECT_NEAR(found.value, expected.area, 1e-15);
  const double half =
      1.959963984540054 * std::sqrt(expected.variance) / (expected.area * (1 - expected.area));
  EXPECT_NEAR(odds(*found.high), odds(expected.area) + half, 1e-12);
  EXPECT_NEAR(odds(*found.low), odds(expected.area) - half, 1e-12);
}

TEST(Auroc, TurnsWithItsSets) {
  const Numbers below{0, 2, 4, 6, 6}, above{1, 3, 9};
  const Auroc one = auroc(below, above), other = auroc(above, below);
  EXPECT_NEAR(one.value + other.value, 1, 1e-15);
  EXPECT_NEAR(*one.low + *other.high, 1, 1e-12);
}

TEST(Auroc, SetsThatOverlapNowhereAreAsManyTrialsAsTheSmallerOneHas) {
  const Numbers low{1, 2, 3, 4}, high{5, 6, 7, 8, 9, 10};
  const Auroc found = auroc(low, high);
  EXPECT_EQ(found.value, 1);
  EXPECT_EQ(*found.high, 1);
  EXPECT_NEAR(*found.low, 0.3976, 1e-4);  // Clopper and Pearson: 4 of 4
  EXPECT_NEAR(*auroc(high, low).high, 1 - 0.3976, 1e-4);
  EXPECT_EQ(auroc(high, low).value, 0);
}

TEST(Auroc, OfEqualNumbersIsAHalf) {
  const Auroc found = auroc({2, 2, 2}, {2, 2});
  EXPECT_EQ(found.value, 0.5);
  EXPECT_EQ(*found.low, 0.5);
  EXPECT_FALSE(auroc({1, 2}, {3}).low);
}

/// The share of intervals that hold the truth, for normal numbers a deviation apart: 95 % but for
/// chance (standard error 0.5 %) and for what a formula for large sets lacks.
TEST(Auroc, ItsIntervalHoldsTheTruth) {
  const double truth = 0.5 * (1 + std::erf(0.5));  // Φ(1/√2)
  std::uint64_t state = 1;
  const auto uniform = [&] {
    state = state * 6364136223846793005U + 1442695040888963407U;
    return (static_cast<double>(state >> 11) + 0.5) * 0x1p-53;
  };
  const auto normals = [&](std::size_t count, double mean) {
    Numbers numbers(count);
    for (double& number : numbers) {
      number = mean + std::sqrt(-2 * std::log(uniform())) * std::cos(6.283185307179586 * uniform());
    }
    return numbers;
  };
  int held = 0;
  for (int i = 0; i < 2000; ++i) {
    const Auroc found = auroc(normals(40, 0), normals(60, 1));
    held += *found.low < truth && truth < *found.high ? 1 : 0;
  }
  EXPECT_NEAR(held / 2000.0, 0.95, 0.015);
}

TEST(EnergyReport, QuantilesAreLinearBetweenNumbers) {
  const Numbers ascending{1, 2, 3, 10};
  EXPECT_DOUBLE_EQ(quantile(ascending, 0), 1);
  EXPECT_DOUBLE_EQ(quantile(ascending, 0.25), 1.75);
  EXPECT_DOUBLE_EQ(quantile(ascending, 0.9), 7.9);
  EXPECT_DOUBLE_EQ(quantile(ascending, 1), 10);
  EXPECT_DOUBLE_EQ(quantile({5}, 0.3), 5);
}

TEST(EnergyReport, HistogramCountsEachNumberOnce) {
  EXPECT_EQ(histogram({0, 0.5, 1, 1, 2.9, 3}, {0, 1, 2, 3}), (std::vector<std::int64_t>{2, 2, 2}));
  EXPECT_EQ(histogram({4, 4}, {4, 4}), (std::vector<std::int64_t>{2}));
}

EnergySet set(const std::string& name, const Numbers& energies) {
  return {name, "file", "split", 100, energies};
}

TEST(EnergyReport, SetsHaveCommonEdgesAndLoseNothing) {
  const EnergyReport report = report_energies(
      {set("training", {1, 2, 3}), set("test", {2, 4}), set("far", {900, 901, 902})});
  EXPECT_TRUE(std::ranges::is_sorted(report.edges));
  EXPECT_EQ(report.edges.front(), 1);
  EXPECT_EQ(report.edges.back(), 902);
  for (const EnergySummary& one : report.sets) {
    EXPECT_EQ(one.histogram.size() + 1, report.edges.size());
    EXPECT_EQ(std::accumulate(one.histogram.begin(), one.histogram.end(), 0L), one.states);
  }
  // Each set spreads over bins of its own, however far the others lie.
  EXPECT_GE(std::ranges::count_if(report.sets[2].histogram, [](auto count) { return count > 0; }),
            3);
  EXPECT_EQ(report.sets[0].lowest, 1);
  EXPECT_DOUBLE_EQ(report.sets[0].deviation, 1);
  EXPECT_EQ(report.sets[0].available, 100);
}

TEST(EnergyReport, TheGapIsADifferenceOfMeans) {
  const EnergyReport report = report_energies(
      {set("training", {1, 2, 3}), set("test", {4, 6}), set("noise", {9, 5}), set("x.h5", {1})});
  EXPECT_DOUBLE_EQ(report.gap->value, 3);
  const double error = std::sqrt(1.0 / 3 + 2.0 / 2);
  EXPECT_NEAR(*report.gap->low, 3 - 1.959963984540054 * error, 1e-12);
  EXPECT_NEAR(*report.gap->high, 3 + 1.959963984540054 * error, 1e-12);
  EXPECT_EQ(report.memorisation->value, 1);
  ASSERT_EQ(report.out_of_distribution.size(), 2U);
  EXPECT_EQ(report.out_of_distribution[0].name, "noise");
  EXPECT_EQ(report.out_of_distribution[0].auroc.value, 0.75);
  EXPECT_EQ(report.out_of_distribution[1].auroc.value, 0);
  EXPECT_FALSE(report.out_of_distribution[1].auroc.low);
  const auto json = as_json(report);
  EXPECT_EQ(json["sets"][1]["mean"], 5);
  EXPECT_EQ(json["out_of_distribution"][1]["auroc_interval_95"][0], nullptr);
}

TEST(EnergyReport, WithoutTrainingDataThereIsNoGap) {
  const EnergyReport report = report_energies({set("test", {4, 6}), set("noise", {9, 5})});
  EXPECT_FALSE(report.gap);
  EXPECT_FALSE(report.memorisation);
  EXPECT_EQ(report.out_of_distribution.size(), 1U);
  EXPECT_TRUE(report_energies({}).sets.empty());
}

}  // namespace
}  // namespace stanley
