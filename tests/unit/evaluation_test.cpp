#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "evaluation/distances.hpp"
#include "evaluation/mean_kernel.hpp"
#include "evaluation/nearest_few.hpp"
#include "evaluation/pair_tiles.hpp"
#include "evaluation/pairs.hpp"
#include "evaluation/row_blocks.hpp"
#include "kernels/loop_threads.hpp"
#include "parallel/communicator.hpp"

namespace stanley {
namespace {

/// Numbers that look random and are the same everywhere.
at::Tensor wavy_numbers(std::int64_t rows, std::int64_t columns, double phase) {
  const at::Tensor all = at::arange(rows * columns, at::kDouble) * 12.9898 + phase;
  return (at::sin(all) * 43758.5453).frac().view({rows, columns}) * 2;
}

using Rows = std::vector<std::vector<double>>;

Rows rows_of(const at::Tensor& tensor) {
  Rows rows;
  for (std::int64_t i = 0; i < tensor.size(0); ++i) {
    const at::Tensor row = tensor[i].contiguous();
    rows.emplace_back(row.const_data_ptr<double>(), row.const_data_ptr<double>() + row.numel());
  }
  return rows;
}

double kernel(const std::vector<double>& x, const std::vector<double>& y) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return std::pow(sum / static_cast<double>(x.size()) + 1, 3);
}

double distance(const std::vector<double>& x, const std::vector<double>& y) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += (x[i] - y[i]) * (x[i] - y[i]);
  return std::sqrt(sum);
}

double mean_of_pairs(const Rows& x) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    for (std::size_t j = 0; j < x.size(); ++j) sum += i == j ? 0 : kernel(x[i], x[j]);
  }
  return sum / static_cast<double>(x.size() * (x.size() - 1));
}

/// Pair by pair, as the formula says.
double kernel_distance_of(const Rows& x, const Rows& y) {
  double across = 0;
  for (const auto& a : x) {
    for (const auto& b : y) across += kernel(a, b);
  }
  return mean_of_pairs(x) + mean_of_pairs(y) -
         2 * across / static_cast<double>(x.size() * y.size());
}

double radius(const Rows& x, std::size_t of) {
  std::vector<double> distances;
  for (std::size_t j = 0; j < x.size(); ++j) {
    if (j != of) distances.push_back(distance(x[of], x[j]));
  }
  std::ranges::sort(distances);
  return distances[neighbours_of_a_ball - 1];
}

Manifold manifold_of(const Rows& draws, const Rows& images) {
  Manifold sum;
  for (const auto& x : draws) {
    double balls = 0;
    for (std::size_t j = 0; j < images.size(); ++j) {
      balls += distance(x, images[j]) < radius(images, j) ? 1 : 0;
    }
    sum.precision += balls > 0 ? 1 : 0;
    sum.density += balls / static_cast<double>(neighbours_of_a_ball);
  }
  for (std::size_t j = 0; j < images.size(); ++j) {
    bool recalled = false, covered = false;
    for (std::size_t i = 0; i < draws.size(); ++i) {
      recalled |= distance(draws[i], images[j]) < radius(draws, i);
      covered |= distance(draws[i], images[j]) < radius(images, j);
    }
    sum.recall += recalled ? 1 : 0;
    sum.coverage += covered ? 1 : 0;
  }
  const auto n = static_cast<double>(draws.size()), m = static_cast<double>(images.size());
  return {sum.precision / n, sum.recall / m, sum.density / n, sum.coverage / m};
}

void expect_equal(const Manifold& found, const Manifold& expected) {
  EXPECT_DOUBLE_EQ(found.precision, expected.precision);
  EXPECT_DOUBLE_EQ(found.recall, expected.recall);
  EXPECT_DOUBLE_EQ(found.density, expected.density);
  EXPECT_DOUBLE_EQ(found.coverage, expected.coverage);
}

class Evaluation : public testing::Test {
 protected:
  Evaluation() {
    for (std::int64_t i = 0; i < draws_.size(0); ++i) {
      sorting_.class_of.push_back(i % 3 == 0 ? 1 : 0);
      sorting_.group_of.push_back(i % 4);
      sorting_.chain_of.push_back(i);
    }
    reference_ = make_reference(images_, *alone_);
    table_ = compare_pairs(draws_, sorting_, reference_, *alone_);
  }

  /// The draws of these classes but for a group.
  Rows some(const std::vector<std::int64_t>& classes, std::int64_t without = -1) const {
    Rows chosen;
    const Rows all = rows_of(draws_);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const bool is_in = std::ranges::find(classes, sorting_.class_of[i]) != classes.end();
      if (is_in && sorting_.group_of[i] != without) chosen.push_back(all[i]);
    }
    return chosen;
  }

  at::Tensor draws_ = wavy_numbers(37, 4, 0.3), images_ = wavy_numbers(29, 4, 1.7) + 0.4;
  std::unique_ptr<Communicator> alone_ = make_local_communicator();
  Sorting sorting_{.classes = 2, .groups = 4};
  Reference reference_;
  PairTable table_;
};

TEST_F(Evaluation, KernelDistanceIsThatOfAllPairs) {
  const Rows images = rows_of(images_);
  for (const std::vector<std::int64_t>& classes : {std::vector<std::int64_t>{0, 1}, {0}, {1}}) {
    const Estimate found = kernel_distance(table_, sorting_, reference_, classes);
    EXPECT_NEAR(*found.value, kernel_distance_of(some(classes), images), 1e-12);
  }
}

TEST_F(Evaluation, TheIntervalIsAJackknifeOverGroups) {
  const Rows images = rows_of(images_);
  std::vector<double> without;
  for (std::int64_t group = 0; group < 4; ++group) {
    without.push_back(kernel_distance_of(some({0, 1}, group), images));
  }
  const double mean = (without[0] + without[1] + without[2] + without[3]) / 4;
  double squares = 0;
  for (const double one : without) squares += (one - mean) * (one - mean);
  const double half = 3.18245 * std::sqrt(3.0 / 4 * squares);  // Student's quantile at 3 degrees
  const Estimate found = kernel_distance(table_, sorting_, reference_, {0, 1});
  EXPECT_NEAR(*found.high - *found.value, half, 0.01 * half);
  EXPECT_NEAR(*found.value - *found.low, half, 0.01 * half);
}

TEST_F(Evaluation, TwoGroupsGiveNoInterval) {
  for (auto& group : sorting_.group_of) group %= 2;
  const PairTable table = compare_pairs(draws_, sorting_, reference_, *alone_);
  const Estimate found = kernel_distance(table, sorting_, reference_, {0, 1});
  EXPECT_FALSE(found.low);
  EXPECT_NEAR(*found.value, kernel_distance_of(rows_of(draws_), rows_of(images_)), 1e-12);
}

TEST_F(Evaluation, ManifoldsAreThoseOfAllBalls) {
  const Rows images = rows_of(images_);
  expect_equal(manifold(table_, sorting_, {}), manifold_of(some({0, 1}), images));
  for (const std::int64_t c : {0, 1}) {
    expect_equal(manifold(table_, sorting_, c), manifold_of(some({c}), images));
  }
}

TEST_F(Evaluation, NoBitDependsOnThreads) {
  const LoopThreads three(3);
  std::int64_t told = 0;  // on the way over the reference too
  const Reference reference =
      make_reference(images_, *alone_, [&](std::int64_t done, std::int64_t) { told = done; });
  const PairTable table = compare_pairs(draws_, sorting_, reference, *alone_);
  EXPECT_GE(told, images_.size(0));
  EXPECT_EQ(reference.mean_kernel, reference_.mean_kernel);
  EXPECT_TRUE(table.within.equal(table_.within));
  EXPECT_TRUE(table.across.equal(table_.across));
  EXPECT_TRUE(table.recalled.equal(table_.recalled));
}

/// tr (ΣΤ)^½ by eigenvalues, which is exact where both have full rank.
double frechet_by_eigenvalues(const at::Tensor& x, const at::Tensor& y) {
  const at::Tensor a = at::cov(x.t()), b = at::cov(y.t());
  const auto [values, vectors] = at::linalg_eigh(a);
  const at::Tensor root = at::mm(vectors * values.sqrt(), vectors.t());
  const at::Tensor roots = at::linalg_eigvalsh(at::mm(at::mm(root, b), root)).sqrt().sum();
  const at::Tensor means = (x.mean(0) - y.mean(0)).square().sum();
  return (means + a.trace() + b.trace() - 2 * roots).item<double>();
}

TEST(FrechetDistance, IsThatOfTheGaussians) {
  const at::Tensor x = wavy_numbers(60, 7, 0.1), y = wavy_numbers(50, 7, 2.2) * 1.3 + 0.2;
  const double expected = frechet_by_eigenvalues(x, y);
  EXPECT_NEAR(FrechetDistance(fit_gaussian(y)).to(x), expected, 1e-10 * expected);
}

TEST(FrechetDistance, KeepsItsDigitsWhereCovariancesAreSingular) {
  const at::Tensor x = wavy_numbers(5, 40, 0.1);  // rank 4 in 40 dimensions
  const double trace = at::cov(x.t()).trace().item<double>();
  EXPECT_NEAR(FrechetDistance(fit_gaussian(x)).to(x), 0, 1e-12 * trace);
  EXPECT_NEAR(FrechetDistance(fit_gaussian(x + 3)).to(x), 40 * 9, 1e-9);
  const at::Tensor wider = (x - x.mean(0)) * 2 + x.mean(0);
  EXPECT_NEAR(FrechetDistance(fit_gaussian(wider)).to(x), trace, 1e-10 * trace);  // (2 − 1)²·tr Σ
  // In directions of their own two Gaussians share nothing: the traces add.
  const at::Tensor left = at::cat({x, at::zeros_like(x)}, 1);
  const at::Tensor right = at::cat({at::zeros_like(x), x - x.mean(0)}, 1);
  const double means = x.mean(0).square().sum().item<double>();
  EXPECT_NEAR(FrechetDistance(fit_gaussian(left)).to(right), means + 2 * trace, 1e-9 * trace);
}

TEST(FrechetDistance, ExtrapolatesToInfinitelyManyDraws) {
  // Of one law, all distance is bias, which falls with 1/n.
  at::Generator generator = at::detail::createCPUGenerator(7);
  const auto normal = [&](std::int64_t n) { return at::randn({n, 8}, generator, at::kDouble); };
  const FrechetDistance frechet(fit_gaussian(normal(40000)));
  double biased = 0, extrapolated = 0;
  for (int i = 0; i < 20; ++i) {
    const at::Tensor draws = normal(500);
    biased += frechet.to(draws) / 20;
    extrapolated += frechet.extrapolated(draws, frechet.to(draws)).value() / 20;
  }
  EXPECT_GT(biased, 0.03);
  EXPECT_LT(std::abs(extrapolated), biased / 3);
  EXPECT_FALSE(frechet.extrapolated(normal(17), 0));
}

TEST(MeanKernel, MakesTheDistanceOfThePairs) {
  const auto alone = make_local_communicator();
  for (const auto& [n, m, d] : {std::array{70, 45, 3}, {33, 64, 2}, {2, 9, 17}}) {
    const at::Tensor draws = wavy_numbers(n, d, 0.3), images = wavy_numbers(m, d, 1.7);
    const double found = mean_kernel_within(draws, *alone) + mean_kernel_within(images, *alone) -
                         2 * mean_kernel_across(draws, images, *alone);
    EXPECT_NEAR(found, kernel_distance_of(rows_of(draws), rows_of(images)), 1e-12);
  }
  EXPECT_TRUE(std::isnan(mean_kernel_within(wavy_numbers(1, 3, 0), *alone)));
}

TEST(PairTiles, HoldEachPairOnce) {
  const auto alone = make_local_communicator();
  const LoopThreads three(3);
  for (const auto& [n, m] : {std::array<std::int64_t, 2>{50, 4100}, {70, 3}, {4200, 4200}}) {
    const at::Tensor x = wavy_numbers(n, 1, 0.3), y = n == m ? x : wavy_numbers(m, 1, 1.7);
    const Pairs pairs = n == m ? Pairs::within : Pairs::across;
    const at::Tensor seen = at::zeros({n, m}, at::kInt);
    std::int64_t told = 0;
    for_each_pair_tile(
        x, y, pairs, 32, *alone,
        [&](const PairTile& tile) {
          for (std::int64_t i = tile.rows.first; i < tile.rows.end(); ++i) {
            for (std::int64_t j = tile.first_of(i); j < tile.columns.end(); ++j) {
              const bool right = tile.product(i, j) ==
                                 x.const_data_ptr<double>()[i] * y.const_data_ptr<double>()[j];
              seen.mutable_data_ptr<int>()[i * m + j] += right ? 1 : 1000;
            }
          }
        },
        [&](std::int64_t done, std::int64_t all) {
          EXPECT_GE(done, told);
          EXPECT_GE(all, n);
          told = done == all ? n : done;
        });
    EXPECT_EQ(told, n);
    const at::Tensor once = at::ones({n, m}, at::kInt);
    EXPECT_TRUE(seen.equal(pairs == Pairs::within ? once.triu(1) : once));
  }
}

TEST(NearestFew, KeepsTheRadiusInAnyOrder) {
  const at::Tensor squared = wavy_numbers(6, 40, 0.3).abs();
  squared.narrow(1, 0, 20).copy_(squared.narrow(1, 20, 20));  // each stands twice
  NearestFew whole(6), parts(8);
  for (std::int64_t from : {20, 0}) {
    NearestFew part(6);
    for (std::int64_t k = 0; k < 20; ++k) {
      for (std::int64_t i = 0; i < 6; ++i) {
        const double number = squared[i][from + k].item<double>();
        whole.add(i, number);
        part.add(i, number);
      }
    }
    parts.add(part, 2);
  }
  const auto alone = make_local_communicator();
  const at::Tensor expected = std::get<0>(squared.kthvalue(neighbours_of_a_ball, 1));
  EXPECT_TRUE(whole.squared_radii(*alone).equal(expected));
  const at::Tensor of_parts = parts.squared_radii(*alone);
  EXPECT_TRUE(of_parts.narrow(0, 2, 6).equal(expected));
  EXPECT_TRUE(of_parts.narrow(0, 0, 2).isinf().all().item<bool>());  // no others
}

TEST(RowBlocks, OneThreadEachLastsAsLongAsItsObject) {
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  {
    const OneThreadEach one_thread;
    EXPECT_EQ(at::get_num_threads(), 1);
  }
  EXPECT_EQ(at::get_num_threads(), 2);
  at::set_num_threads(before);
}

TEST(RowBlocks, AFailureOfOneBlockIsThrown) {
  const auto alone = make_local_communicator();
  EXPECT_THROW(for_each_row_block(10, 3, *alone,
                                  [](const RowBlock& rows) {
                                    if (rows.first == 6) throw std::runtime_error("six");
                                  }),
               std::runtime_error);
}

}  // namespace
}  // namespace stanley
