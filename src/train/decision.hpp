#pragma once

#include <cstdint>
#include <string>

#include "config/config.hpp"
#include "run/deadlines.hpp"

namespace stanley {

/// What follows an iteration.
struct Decision {
  bool diverged = false;        ///< roll back; else:
  bool draws = false;           ///< write them
  bool checkpoint = false;      ///< write one
  bool stage_ends = false;      ///< wait for it: the next stage begins from there
  std::string stop_asked_by{};  ///< "signal", "run.until", "Slurm's end of the job"; empty: go on
  bool stop() const { return !stop_asked_by.empty(); }
};

/// Decides from all ranks' votes, the same on each, after `iteration` finished ones. The last
/// iteration needs no stop.
Decision decide(const Votes& all, std::int64_t iteration, const Config& config);

}  // namespace stanley
