#pragma once

#include <string>
#include <vector>

#include "config/error.hpp"
#include "parallel/session.hpp"
#include "run/log.hpp"

namespace stanley {

/// What a person asks of `stanley sample --run-directory`.
struct SamplingRunRequest {
  std::string source;                  ///< a checkpoint, or a configuration with an energy's file
  std::vector<std::string> overrides;  ///< of its configuration
  bool average = true;                 ///< the running average of the weights, or the last ones
  std::string directory;
  std::string resume{"auto"};  ///< auto or never
  bool take_over = false;      ///< take the directory from whatever run owns it
};

/// Collective. Runs chains through their warm-up and `sampling.draws` draws, streamed to files of
/// the run directory, until they are done, a signal or run.until; sums up at the end. Returns
/// finished or requeue; the same request goes on from there, and all draws are bitwise those of a
/// run that nobody stopped. Errors: as design §6.
ExitCode run_sampling_run(const SamplingRunRequest& request, Session& session, Log& log);

}  // namespace stanley
