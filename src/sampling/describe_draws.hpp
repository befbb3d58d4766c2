#pragma once

#include <cstdint>
#include <vector>

#include "config/config.hpp"
#include "storage/draws.hpp"

namespace stanley {

/// What a draw file says of each of its states, as [chain][draw].
struct DrawColumns {
  std::vector<double> energies, acceptance;
  std::vector<std::int64_t> ages, restarts;
  /// −E/T, the log density up to a constant; −E where T = 0: describe() computes it.
  std::vector<double> lp{};
};

/// Gives `set` the columns, to which it then points, and the attributes that tell where any draw
/// file comes from.
void describe(DrawSet& set, DrawColumns& columns, const Config& config);

}  // namespace stanley
