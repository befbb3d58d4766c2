#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace stanley {

/// A view of the draws of one quantity by several chains of one length, float64 [chain][draw]. What
/// it looks at must outlive it.
struct ChainDraws {
  std::span<const double> values{};
  std::int64_t chains = 0;  ///< 1 or more
  std::int64_t draws = 0;   ///< of each chain, 1 or more

  std::span<const double> chain(std::int64_t index) const {
    return values.subspan(static_cast<std::size_t>(index * draws), static_cast<std::size_t>(draws));
  }
};

/// Throws Error(bug) unless `values` holds chains × draws numbers, one at least.
void check_shape(const ChainDraws& all);

/// How many are NaN or infinite.
std::int64_t count_not_finite(std::span<const double> values);

/// Σ term(value), by eight sums of every eighth value, which wait for nobody: the same bits in any
/// build.
template <typename Term>
double sum_of(std::span<const double> values, Term term) {
  constexpr std::size_t width = 8;
  std::array<double, width> sums{};
  std::size_t i = 0;
  for (; i + width <= values.size(); i += width) {
    for (std::size_t j = 0; j < width; ++j) sums[j] += term(values[i + j]);
  }
  for (std::size_t j = 0; i + j < values.size(); ++j) sums[j] += term(values[i + j]);
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

/// In two passes: the second takes the rounding of the first away, so that the mean of equal
/// numbers is that number.
double mean_of(std::span<const double> values);

/// Divides by n − 1; NaN for fewer than two numbers.
double variance_of(std::span<const double> values);

/// The mean of each chain.
std::vector<double> chain_means(const ChainDraws& all);

}  // namespace stanley
