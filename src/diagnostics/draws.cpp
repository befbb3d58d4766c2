#include "diagnostics/draws.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "config/error.hpp"

namespace stanley {

void check_shape(const ChainDraws& all) {
  if (all.chains >= 1 && all.draws >= 1 &&
      all.values.size() == static_cast<std::size_t>(all.chains * all.draws)) {
    return;
  }
  throw Error(ExitCode::bug, fmt::format("{} draws were given as those of {} chains of {} draws",
                                         all.values.size(), all.chains, all.draws));
}

std::int64_t count_not_finite(std::span<const double> values) {
  return std::ranges::count_if(values, [](double value) { return !std::isfinite(value); });
}

double mean_of(std::span<const double> values) {
  const auto n = static_cast<double>(values.size());
  const double mean = sum_of(values, [](double value) { return value; }) / n;
  return mean + sum_of(values, [mean](double value) { return value - mean; }) / n;
}

double variance_of(std::span<const double> values) {
  if (values.size() < 2) return std::numeric_limits<double>::quiet_NaN();
  const double mean = mean_of(values);
  return sum_of(values, [mean](double value) { return (value - mean) * (value - mean); }) /
         static_cast<double>(values.size() - 1);
}

std::vector<double> chain_means(const ChainDraws& all) {
  std::vector<double> means;
  for (std::int64_t c = 0; c < all.chains; ++c) means.push_back(mean_of(all.chain(c)));
  return means;
}

}  // namespace stanley
