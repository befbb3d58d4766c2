#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace stanley {

/// Numbers in ascending order, and where each of them stands in the array that they are from.
struct Ascending {
  std::vector<double> values;
  std::vector<std::uint32_t> places;
};

/// Sorts numbers without NaN, fewer than 2^32 of them; equal ones stay in order.
Ascending sorted(std::span<const double> values);

/// The distances |x − median| in ascending order, at the places of their x: folded draws. None of
/// the numbers is infinite.
Ascending folded(const Ascending& numbers);

/// The mean of the two in the middle, or the one there.
double median_of(std::span<const double> ascending);

/// Between two neighbours, as ArviZ and R's type 7 do, operation by operation: where the neighbours
/// are equal the last bit decides which draws are at most the quantile.
double quantile_of(std::span<const double> ascending, double probability);

/// Each number's z = Φ⁻¹((rank − 3/8)/(n + 1/4)) at its place; equal numbers have their mean rank
/// (Vehtari et al. 2021, equation 14).
std::vector<double> normal_scores(const Ascending& numbers);

}  // namespace stanley
