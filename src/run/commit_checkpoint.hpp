#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "run/log.hpp"
#include "storage/checkpoint.hpp"

namespace stanley {

/// Collective. Writes a checkpoint of a run, and once it is complete takes away the older ones, as
/// retain_checkpoints() does; where that fails a warning says so. Errors: as write_checkpoint().
CommitReport commit_checkpoint(Communicator& communicator, const std::string& directory,
                               const CheckpointContents& contents, const FileOptions& options,
                               std::int64_t keep_last, std::optional<std::int64_t> keep_every,
                               const std::set<std::int64_t>& keep, Log& log);

}  // namespace stanley
