#include "evaluation/diversity.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/loop_threads.hpp"
#include "parallel/communicator.hpp"

namespace stanley {
namespace {

constexpr double infinite = std::numeric_limits<double>::infinity();

/// Numbers that look random and are the same everywhere.
at::Tensor numbers(std::int64_t rows, std::int64_t columns, double phase) {
  const at::Tensor all = at::arange(rows * columns, at::kDouble) * 12.9898 + phase;
  return (at::sin(all) * 43758.5453).frac().view({rows, columns}) * 2;
}

/// The nearest image of another owner to sample i, pair by pair; −1 where there is none.
std::pair<double, std::int64_t> nearest_of(const at::Tensor& x, std::int64_t i, const at::Tensor& y,
                                           const at::Tensor& owners_of_x,
                                           const at::Tensor& owners_of_y) {
  double least = infinite;
  std::int64_t place = -1;
  for (std::int64_t j = 0; j < y.size(0); ++j) {
    if (owners_of_x.defined() && owners_of_x[i].equal(owners_of_y[j])) continue;
    const double distance = (x[i] - y[j]).square().sum().sqrt().item<double>();
    if (distance < least) std::tie(least, place) = std::pair(distance, j);
  }
  return {least, place};
}

void expect_nearest(const Nearest& found, const at::Tensor& x, const at::Tensor& y,
                    const at::Tensor& owners_of_x = {}, const at::Tensor& owners_of_y = {}) {
  for (std::int64_t i = 0; i < x.size(0); ++i) {
    const auto [distance, place] = nearest_of(x, i, y, owners_of_x, owners_of_y);
    EXPECT_EQ(found.indices[i].item<std::int64_t>(), place) << i;
    if (place < 0) {
      EXPECT_EQ(found.distances[i].item<double>(), infinite);
    } else {
      EXPECT_NEAR(found.distances[i].item<double>(), distance, 1e-13);
    }
  }
}

class Neighbours : public testing::Test {
 protected:
  /// The images in parts that end at these numbers.
  Nearest search(const std::vector<std::int64_t>& ends) {
    NearestSearch search(x_);
    std::int64_t first = 0;
    for (const std::int64_t end : ends) {
      search.add(y_.narrow(0, first, end - first), first, *alone_);
      first = end;
    }
    return search.finish(*alone_);
  }

  at::Tensor x_ = numbers(61, 5, 0.3), y_ = numbers(83, 5, 1.7);
  std::unique_ptr<Communicator> alone_ = make_local_communicator();
};

TEST_F(Neighbours, AreThoseOfAllPairsHoweverTheImagesCome) {
  expect_nearest(search({83}), x_, y_);
  expect_nearest(search({1, 40, 41, 83}), x_, y_);
}

TEST_F(Neighbours, OfManyImagesToo) {  // more than are looked at together, in rows and columns
  x_ = numbers(300, 3, 0.2);
  y_ = numbers(4200, 3, 0.9);
  const at::Tensor all = at::cdist(x_, y_, 2, /*compute_mode=*/2);
  const auto [distances, indices] = all.min(1);
  const Nearest found = search({4200});
  EXPECT_TRUE(found.indices.equal(indices));
  EXPECT_TRUE(at::allclose(found.distances, distances, 1e-12));
}

TEST_F(Neighbours, AnEqualImageIsAtNoDistance) {
  y_[77].copy_(x_[5] + 0);
  const Nearest found = search({50, 83});
  EXPECT_EQ(found.distances[5].item<double>(), 0);
  EXPECT_EQ(found.indices[5].item<std::int64_t>(), 77);
}

TEST_F(Neighbours, NoBitDependsOnThreads) {
  x_ = numbers(900, 5, 0.2);
  const Nearest alone = search({83});
  const LoopThreads three(3);
  const Nearest together = search({83});
  EXPECT_TRUE(together.distances.equal(alone.distances));
  EXPECT_TRUE(together.indices.equal(alone.indices));
}

TEST_F(Neighbours, AmongEachOtherAreOfOtherOwners) {
  const at::Tensor owners = at::floor_divide(at::arange(61, at::kLong), 4);
  expect_nearest(nearest_others(x_, owners, *alone_), x_, x_, owners, owners);
  const at::Tensor one = at::zeros({61}, at::kLong);
  expect_nearest(nearest_others(x_, one, *alone_), x_, x_, one, one);
}

TEST(NearestDistances, AreQuantilesAndShares) {
  const at::Tensor reference = at::arange(20, -1, -1, at::kDouble);  // 20, 19, ... 0
  const at::Tensor states = at::tensor({0.0, 0.5, 3.0, 9.5, 10.0, 12.0, 30.0, 0.0}, at::kDouble);
  const NearestDistances found = compare_nearest({states, {}}, {reference, {}});
  EXPECT_EQ(found.of_reference, (std::array<double, 7>{0, 1, 5, 10, 15, 19, 20}));
  EXPECT_DOUBLE_EQ(found.of_states[2], 0.375);  // at place 1.75 of 0, 0, 0.5, 3, ...
  EXPECT_DOUBLE_EQ(found.of_states[3], 6.25);
  EXPECT_DOUBLE_EQ(found.nearer_than_median, 5.0 / 8);
  EXPECT_DOUBLE_EQ(found.nearer_than_5_percent, 3.0 / 8);
  EXPECT_EQ(found.copies, 2);
}

TEST(ClassHistogram, IsThatOfEachImage) {
  const at::Tensor logits = numbers(101, 4, 0.4) * 6;
  std::vector<double> counts(4);
  double sure = 0;
  for (std::int64_t i = 0; i < 101; ++i) {
    std::size_t best = 0;
    double sum = 0;
    const auto logit = [&](std::size_t c) {
      return logits[i][static_cast<std::int64_t>(c)].item<double>();
    };
    for (std::size_t c = 0; c < 4; ++c) {
      if (logit(c) > logit(best)) best = c;
      sum += std::exp(logit(c));
    }
    counts[best] += 1;
    sure += std::exp(logit(best)) / sum >= confident_from ? 1 : 0;
  }
  double entropy = 0;
  const ClassHistogram found = histogram_of(logits);
  for (std::size_t c = 0; c < 4; ++c) {
    EXPECT_DOUBLE_EQ(found.shares[c], counts[c] / 101);
    entropy -= counts[c] / 101 * std::log(counts[c] / 101);
  }
  EXPECT_GT(sure, 10);
  EXPECT_LT(sure, 91);
  EXPECT_DOUBLE_EQ(found.confident, sure / 101);
  EXPECT_NEAR(found.entropy, entropy, 1e-14);
}

TEST(ClassHistogram, OfLabelsKnowsEmptyClasses) {
  const std::vector<std::int64_t> labels{0, 2, 2, 0, 2, 2};
  const ClassHistogram found = histogram_of(labels, 4);
  EXPECT_EQ(found.shares, (std::vector<double>{2.0 / 6, 0, 4.0 / 6, 0}));
  EXPECT_NEAR(found.entropy, std::log(3.0) - 2.0 / 3 * std::log(2.0), 1e-15);
  const ClassHistogram other = histogram_of(std::vector<std::int64_t>{1, 2}, 4);
  EXPECT_DOUBLE_EQ(total_variation(found, other), 0.5);
  EXPECT_DOUBLE_EQ(total_variation(found, found), 0);
}

/// The mean of |X/n − Y/m| for binomial X and Y of the share s.
double mean_difference(int n, int m, double s) {
  const auto binomial = [s](int k, int of) {
    return std::exp(std::lgamma(of + 1) - std::lgamma(k + 1) - std::lgamma(of - k + 1) +
                    k * std::log(s) + (of - k) * std::log(1 - s));
  };
  double sum = 0;
  for (int i = 0; i <= n; ++i) {
    for (int j = 0; j <= m; ++j) {
      const double difference = std::abs(static_cast<double>(i) / n - static_cast<double>(j) / m);
      sum += binomial(i, n) * binomial(j, m) * difference;
    }
  }
  return sum;
}

TEST(ClassHistogram, VariationByChanceIsThatOfTwoSamplesOfOneLaw) {
  const ClassHistogram p{.images = 150, .shares = {0.3, 0.7}},
      q{.images = 400, .shares = {0.3, 0.7}};
  const double exact =
      mean_difference(150, 400, 0.3);  // ½ Σ over two classes that mirror each other
  EXPECT_NEAR(total_variation_by_chance(p, q), exact, 0.01 * exact);
}

TEST(DiversityRecord, KeepsWhatIsNotAskedAgain) {
  const Diversity found{.neighbours = NeighboursFound{.split = "train", .training = 7}};
  nlohmann::ordered_json now = found;
  EXPECT_EQ(now["neighbours"]["training"], 7);
  EXPECT_FALSE(now.contains("classes"));
  keep_older(now, {{"classes", 1}, {"neighbours", 2}});
  EXPECT_EQ(now["classes"], 1);
  EXPECT_EQ(now["neighbours"]["training"], 7);
}

}  // namespace
}  // namespace stanley
