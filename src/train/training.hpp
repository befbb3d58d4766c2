#pragma once

#include <string>

#include "config/config.hpp"
#include "parallel/session.hpp"
#include "run/log.hpp"

namespace stanley {

/// What a person asks of `stanley train`.
struct TrainingRequest {
  Config config;
  std::string directory;       ///< the run directory
  std::string resume{"auto"};  ///< auto, never, or a checkpoint's path
  bool take_over = false;      ///< take the directory from whatever run owns it
};

/// Collective. Trains until run.iterations, a signal or run.until; reads and writes the run
/// directory. Returns finished or requeue. Errors: as design §6.
ExitCode run_training(const TrainingRequest& request, Session& session, Log& log);

}  // namespace stanley
