#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "evaluation/energies.hpp"

namespace stanley {

/// Where chains of one start are after so many steps.
struct LongRunPoint {
  std::int64_t step = 0;
  std::string start;  ///< "bank", "data" or "noise"
  Mean energy{};
  std::optional<double> kid{}, kid_low{}, kid_high{};
};

/// Chains of the trained energy that run on from three starts.
struct LongRun {
  std::int64_t steps = 0;
  std::int64_t chains = 0;             ///< from each start
  std::vector<LongRunPoint> points{};  ///< by step, then bank, data, noise
  std::string verdict{};               ///< "stable", "short-run generator" or "none"
  std::vector<std::string> reasons{};  ///< what speaks against "stable", or why there is none
  double seconds = 0;
};

/// How the verdict is reached.
inline constexpr const char* long_run_rule =
    "stable where, at the last step, no start's KID lies above that of the bank at step 0, and the "
    "three starts agree with each other in mean energy and in KID; else short-run generator. Two "
    "numbers differ where their 95 % intervals have nothing in common.";

/// The steps after which chains are looked at: 0 and about ten more, evenly spaced on a logarithmic
/// scale over three decades; multiples of `unit`, but for the last one.
std::vector<std::int64_t> steps_to_tell(std::int64_t steps, std::int64_t unit);

/// Fills in verdict and reasons from the points (Nijkamp et al., arXiv 1903.12370, tell the two
/// kinds of energy apart by chains that run on).
void judge(LongRun& run);

nlohmann::ordered_json as_json(const LongRunPoint& point);
LongRunPoint point_of(const nlohmann::json& json);
nlohmann::ordered_json as_json(const LongRun& run);
std::string as_text(const LongRun& run);

}  // namespace stanley
