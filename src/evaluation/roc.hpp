#pragma once

#include <optional>
#include <vector>

namespace stanley {

/// Of the normal distribution at 97.5 %: half of a 95 % interval in standard errors.
inline constexpr double normal_quantile = 1.959963984540054;

/// The area under the receiver operating characteristic, with its 95 % interval.
struct Auroc {
  double value = 0.5;
  std::optional<double> low{}, high{};  ///< none where a set has fewer than two numbers
};

/// How the interval is made, in words for the results.
inline constexpr const char* auroc_interval =
    "DeLong, on the scale of log odds; Clopper-Pearson over disjoint pairs where one set lies "
    "wholly above the other";

/// P(above > below) + ½ P(above = below) over all pairs of two sets, neither of them empty: the
/// area by Mann and Whitney. Its variance is DeLong's (DeLong, DeLong, Clarke-Pearson,
/// Biometrics 44, 1988), and the interval is one of log odds, so that it stays within 0 and 1.
/// Where the sets overlap nowhere that variance is 0 and says nothing: as many disjoint pairs as
/// the smaller set allows are then that many trials without a failure (Clopper, Pearson 1934). All
/// numbers are independent and none is NaN. O(n log n).
Auroc auroc(const std::vector<double>& below, const std::vector<double>& above);

}  // namespace stanley
