#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

namespace stanley {

/// Running mean and variance, exponentially weighted over about 50 iterations.
struct Band {
  static constexpr double weight = 0.02;  ///< of the newest value
  double count = 0, mean = 0, variance = 0;

  void add(double value) {
    if (count == 0) mean = value;
    const double distance = value - mean;
    variance += weight * (distance * distance - variance);
    mean += weight * distance;
    count += 1;
  }

  /// How many deviations `value` is away; a deviation counts as `floor` at least.
  double deviations(double value, double floor) const {
    return std::abs(value - mean) / std::max(std::sqrt(variance), floor);
  }
};

/// The band of the gap, with its lag-1 covariance.
struct GapStatistics {
  Band band{};
  double last = 0, covariance = 0;

  /// Takes the next gap and returns the lag-1 autocorrelation; NaN before the third.
  double add(double gap) {
    const double before = last - band.mean, now = gap - band.mean;
    if (band.count > 0) covariance += Band::weight * (now * before - covariance);
    band.add(gap);
    last = gap;
    return band.count < 3 ? std::numeric_limits<double>::quiet_NaN() : covariance / band.variance;
  }
};

}  // namespace stanley
