#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "config/config.hpp"

namespace stanley {

/// What every draw file says about where it comes from.
std::map<std::string, std::variant<std::string, std::int64_t, double>> draw_attributes(
    const Config& config);

/// −E/T, the log density up to a constant; −E where T = 0.
std::vector<double> log_density(const std::vector<double>& energies, const Config& config);

}  // namespace stanley
