#pragma once

#include "train/training.hpp"

namespace stanley {

/// Collective. Checks everything that a training would, runs one iteration in memory, and says what
/// the run will need: resolved configuration, temperature, reach, memory per rank, disk, time.
/// Touches no file.
ExitCode dry_run(const TrainingRequest& request, Session& session, Log& log);

}  // namespace stanley
