#pragma once

#include <optional>
#include <string>
#include <vector>

namespace stanley {

/// The most memory that this process has had, bytes.
double peak_memory();

/// Joules that the processors of this node have used since the last reading, by the counters of
/// Linux's power capping (Intel and AMD; RAPL). They can be read by root, or where the site allows
/// it.
class NodeEnergy {
 public:
  /// The first reading. `folder` holds intel-rapl:0, intel-rapl:1, ....
  explicit NodeEnergy(const std::string& folder = "/sys/class/powercap");

  /// Since the reading before; nothing where the node has no counters or they can't be read.
  std::optional<double> joules();

 private:
  struct Counter {
    std::string file;
    double last, range;  ///< µJ; after `range` it begins at 0 again
  };
  std::vector<Counter> counters_;
};

}  // namespace stanley
