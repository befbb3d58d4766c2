#pragma once

#include <span>
#include <string>
#include <vector>

#include "parallel/communicator.hpp"

namespace stanley {

/// How long each rank waited in the reduction for the slowest one, since a beginning.
class WaitTally {
 public:
  void add(double waited, double seconds) {
    waited_ += waited;
    seconds_ += seconds;
  }
  /// Collective. Seconds that each rank waited, in rank order; the same on all.
  std::vector<double> gather(Communicator& communicator) const;
  double seconds() const { return seconds_; }

 private:
  double waited_ = 0, seconds_ = 0;
};

/// Names the stragglers in one line: "straggler rank 5 (node3): the other ranks wait 12.1 % of the
/// time". A straggler is a rank that waits less than a quarter of what the most patient one
/// does. Empty where the ranks wait less than 2 % of `seconds` on average. `waited` and `hosts` are
/// in rank order.
std::string straggler_line(std::span<const double> waited, const std::vector<std::string>& hosts,
                           double seconds);

}  // namespace stanley
