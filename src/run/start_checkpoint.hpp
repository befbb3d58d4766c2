#pragma once

#include <optional>
#include <string>

#include "parallel/communicator.hpp"
#include "run/log.hpp"
#include "storage/checkpoint.hpp"

namespace stanley {

/// Collective. The checkpoint that a start of a run goes on from: with `resume` auto the newest one
/// of `directory` that verifies, if there is any, with never none, else the one that it names. Says
/// which it passed over and why. Errors: input_output, also where never meets checkpoints.
std::optional<CheckpointHeader> find_start_checkpoint(Communicator& world,
                                                      const std::string& resume,
                                                      const std::string& directory,
                                                      const FileOptions& options, Log& log);

}  // namespace stanley
