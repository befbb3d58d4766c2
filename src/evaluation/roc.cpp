#include "evaluation/roc.hpp"

#include <algorithm>
#include <cmath>

namespace stanley {
namespace {

/// For each of `values`, the share of `sorted` that lies below it; equal ones count half.
std::vector<double> shares_below(const std::vector<double>& values,
                                 const std::vector<double>& sorted) {
  std::vector<double> shares;
  shares.reserve(values.size());
  for (const double value : values) {
    const auto [first, last] = std::ranges::equal_range(sorted, value);
    const auto below = static_cast<double>(first - sorted.begin());
    const auto equal = static_cast<double>(last - first);
    shares.push_back((below + equal / 2) / static_cast<double>(sorted.size()));
  }
  return shares;
}

double average(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

/// The variance of the mean of these.
double variance_of_mean(const std::vector<double>& values) {
  const double mean = average(values);
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  const auto n = static_cast<double>(values.size());
  return squares / (n - 1) / n;
}

std::vector<double> sorted(std::vector<double> values) {
  std::ranges::sort(values);
  return values;
}

}  // namespace

Auroc auroc(const std::vector<double>& below, const std::vector<double>& above) {
  const std::vector<double> of_above = shares_below(above, sorted(below));
  Auroc area{.value = average(of_above)};
  const std::size_t fewer = std::min(below.size(), above.size());
  if (fewer < 2) return area;
  if (area.value == 0 || area.value == 1) {
    const double limit = std::pow(0.025, 1 / static_cast<double>(fewer));
    area.low = area.value == 1 ? limit : 0;
    area.high = area.value == 1 ? 1 : 1 - limit;
    return area;
  }
  const double error =
      std::sqrt(variance_of_mean(of_above) + variance_of_mean(shares_below(below, sorted(above))));
  const double odds = std::log(area.value / (1 - area.value));
  const double half = normal_quantile * error / (area.value * (1 - area.value));
  area.low = 1 / (1 + std::exp(half - odds));
  area.high = 1 / (1 + std::exp(-half - odds));
  return area;
}

}  // namespace stanley
