#include "evaluation/distances.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace stanley {
namespace {

/// Sums over the draws that are left of some classes when a group is left out.
struct Sums {
  double draws = 0, pairs = 0, within = 0, across = 0;

  double distance(const Reference& reference) const {
    const auto images = static_cast<double>(reference.features.size(0));
    return within / pairs + reference.mean_kernel - 2 * across / (draws * images);
  }
};

constexpr std::int64_t no_group = -1;

/// How many draws are in each cell.
std::vector<double> count_draws(const Sorting& sorting) {
  std::vector<double> draws(static_cast<std::size_t>(sorting.cells()));
  for (std::size_t i = 0; i < sorting.class_of.size(); ++i) {
    draws[static_cast<std::size_t>(sorting.cell_of(i))] += 1;
  }
  return draws;
}

/// `draws`: as count_draws() has them.
Sums sums_without(std::int64_t left_out, const PairTable& table, const Sorting& sorting,
                  const std::vector<double>& draws, const std::vector<std::int64_t>& classes) {
  std::vector<std::int64_t> cells;
  for (const std::int64_t c : classes) {
    for (std::int64_t group = 0; group < sorting.groups; ++group) {
      if (group != left_out) cells.push_back(c * sorting.groups + group);
    }
  }
  const auto within = table.within.accessor<double, 2>();
  const auto pairs = table.pairs.accessor<double, 2>();
  const auto across = table.across.accessor<double, 1>();
  Sums sums;
  for (const std::int64_t a : cells) {
    sums.draws += draws[static_cast<std::size_t>(a)];
    sums.across += across[a];
    for (const std::int64_t b : cells) {
      sums.within += within[a][b];
      sums.pairs += pairs[a][b];
    }
  }
  return sums;
}

/// Of Student's distribution, two-sided 95 %: for a normal one with the first terms of its
/// expansion in 1/degrees (Abramowitz, Stegun 26.7.5), within 0.3 % from four degrees on.
double student_quantile(double degrees) {
  const double z = 1.959963984540054;
  const double z3 = z * z * z, z5 = z3 * z * z, z7 = z5 * z * z;
  return z + (z3 + z) / (4 * degrees) + (5 * z5 + 16 * z3 + 3 * z) / (96 * degrees * degrees) +
         (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * degrees * degrees * degrees);
}

}  // namespace

Estimate kernel_distance(const PairTable& table, const Sorting& sorting, const Reference& reference,
                         const std::vector<std::int64_t>& classes) {
  const std::vector<double> draws = count_draws(sorting);
  const Sums all = sums_without(no_group, table, sorting, draws, classes);
  Estimate estimate;
  if (all.pairs == 0) return estimate;
  estimate.value = all.distance(reference);
  std::vector<double> without;
  for (std::int64_t group = 0; group < sorting.groups; ++group) {
    const Sums rest = sums_without(group, table, sorting, draws, classes);
    if (rest.draws == all.draws) continue;  // the group has none of these
    if (rest.pairs == 0) return estimate;
    without.push_back(rest.distance(reference));
  }
  if (without.size() < 3) return estimate;
  const auto groups = static_cast<double>(without.size());
  const double mean = std::accumulate(without.begin(), without.end(), 0.0) / groups;
  double squares = 0;
  for (const double one : without) squares += (one - mean) * (one - mean);
  const double half = student_quantile(groups - 1) * std::sqrt((groups - 1) / groups * squares);
  estimate.low = *estimate.value - half;
  estimate.high = *estimate.value + half;
  return estimate;
}

Manifold manifold(const PairTable& table, const Sorting& sorting,
                  std::optional<std::int64_t> only_class) {
  const auto balls = table.balls.accessor<double, 1>();
  double draws = 0, inside = 0, in_balls = 0;
  for (std::size_t i = 0; i < sorting.class_of.size(); ++i) {
    if (only_class && sorting.class_of[i] != *only_class) continue;
    const double count = balls[static_cast<std::int64_t>(i)];
    draws += 1;
    inside += count > 0 ? 1 : 0;
    in_balls += count;
  }
  const std::int64_t row = only_class ? *only_class + 1 : 0;
  return {.precision = inside / draws,
          .recall = table.recalled[row].mean().item<double>(),
          .density = in_balls / draws / static_cast<double>(neighbours_of_a_ball),
          .coverage = table.covered[row].mean().item<double>()};
}

double FrechetDistance::to(const at::Tensor& draws) const {
  const Gaussian other = fit_gaussian(draws);
  const at::Tensor product = at::mm(reference_.factor, other.factor.t());
  const double root = at::linalg_svdvals(product).sum().item<double>();
  const double means = (reference_.mean - other.mean).square().sum().item<double>();
  return means + reference_.trace + other.trace - 2 * root;
}

std::optional<double> FrechetDistance::extrapolated(const at::Tensor& draws,
                                                    double distance) const {
  const std::int64_t n = draws.size(0);
  if (n / 2 <= draws.size(1)) return std::nullopt;
  constexpr std::array shares{0.5, 0.625, 0.75, 0.875, 1.0};
  double sum_x = 0, sum_y = 0, sum_xx = 0, sum_xy = 0;
  for (const double share : shares) {
    const auto part = static_cast<std::int64_t>(share * static_cast<double>(n));
    const double x = 1 / static_cast<double>(part);
    const double y = part == n ? distance : to(draws.narrow(0, 0, part));
    sum_x += x, sum_y += y, sum_xx += x * x, sum_xy += x * y;
  }
  const double points = shares.size();
  const double slope = (points * sum_xy - sum_x * sum_y) / (points * sum_xx - sum_x * sum_x);
  return (sum_y - slope * sum_x) / points;
}

}  // namespace stanley
