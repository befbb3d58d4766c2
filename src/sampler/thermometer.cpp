#include "sampler/thermometer.hpp"

#include <cmath>
#include <limits>

namespace stanley {
namespace {

constexpr double least_errors = 5;     // of a mean that is divided by
constexpr double largest_share = 0.1;  // of a step, of the box's half-width

/// The root of a sum of squares that was computed from other sums. Rounding may leave it below
/// zero; NaN stays NaN.
double root(double square) { return square < 0 ? 0 : std::sqrt(square); }

}  // namespace

Ratio ratio_over_chains(const RatioSums& sums, double chains) {
  constexpr double undefined = std::numeric_limits<double>::quiet_NaN();
  if (chains < 2) return {undefined, undefined};
  const double correction = std::sqrt(chains / (chains - 1));
  // Of the sum of b, which is so many of its errors away from 0 as the mean is.
  const double error_of_b = correction * root(sums.bb - sums.b * sums.b / chains);
  if (!(std::fabs(sums.b) > least_errors * error_of_b)) return {undefined, undefined};
  const double ratio = sums.a / sums.b;
  const double squares = sums.aa - 2 * ratio * sums.ab + ratio * ratio * sums.bb;
  return {ratio, correction * root(squares) / std::fabs(sums.b)};
}

bool step_is_small(double step_length, double saturation, const SamplerConfig& config) {
  if (!config.box) return true;
  const double half_width = ((*config.box)[1] - (*config.box)[0]) / 2;
  return step_length <= largest_share * half_width * std::sqrt(1 - saturation);
}

}  // namespace stanley
