#pragma once

#include <string>
#include <vector>

#include "parallel/session.hpp"
#include "run/log.hpp"

namespace stanley {

/// What a person asks of `stanley sample`.
struct SamplingRequest {
  std::string checkpoint;              ///< or a configuration with an energy's file
  std::vector<std::string> overrides;  ///< of its configuration
  bool average = true;                 ///< the running average of the weights, or the last ones
  std::string output;
};

/// Collective. Runs `chains.total` chains of an energy for `sampler.steps` steps and writes
/// every `sampler.write_every`-th state to one draw file. Chains start from a checkpoint's bank
/// unless an override of chains.start says otherwise. The draws depend on the seed alone, not on
/// the number of ranks. Errors: as design §6; a stop signal ends it with nothing written.
ExitCode run_sampling(const SamplingRequest& request, Session& session, Log& log);

}  // namespace stanley
