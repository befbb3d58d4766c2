#include "train/gap_statistics.hpp"

#include <limits>

namespace stanley {

double GapStatistics::add(double gap) {
  constexpr double weight = 0.02;
  const double before = last - mean, now = gap - mean;
  if (count == 0) {
    mean = gap;
  } else {
    variance += weight * (now * now - variance);
    covariance += weight * (now * before - covariance);
    mean += weight * now;
  }
  last = gap;
  count += 1;
  return count < 3 ? std::numeric_limits<double>::quiet_NaN() : covariance / variance;
}

}  // namespace stanley
