#pragma once

namespace stanley {

/// Mean, variance and lag-1 covariance of the gap, exponentially weighted over about 50 iterations.
struct GapStatistics {
  double count = 0, last = 0, mean = 0, variance = 0, covariance = 0;

  /// Takes the next gap and returns the lag-1 autocorrelation; NaN before the third.
  double add(double gap);
};

}  // namespace stanley
