#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "config/config.hpp"
#include "storage/draws.hpp"

namespace stanley {

/// What every draw file says about where it comes from.
std::map<std::string, std::variant<std::string, std::int64_t, double>> draw_attributes(
    const Config& config);

/// What a draw file says of each of its states, as [chain][draw].
struct DrawColumns {
  std::vector<double> lp, energies, acceptance;
  std::vector<std::int64_t> ages, restarts;

  /// Points to them.
  std::vector<DrawStatistic> statistics() const;
};

/// −E/T, the log density up to a constant; −E where T = 0.
std::vector<double> log_density(const std::vector<double>& energies, const Config& config);

}  // namespace stanley
