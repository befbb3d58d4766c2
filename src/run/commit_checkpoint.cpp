#include "run/commit_checkpoint.hpp"

#include <fmt/format.h>

#include "config/error.hpp"

namespace stanley {

CommitReport commit_checkpoint(Communicator& communicator, const std::string& directory,
                               const CheckpointContents& contents, const FileOptions& options,
                               std::int64_t keep_last, std::optional<std::int64_t> keep_every,
                               const std::set<std::int64_t>& keep, Log& log) {
  FileOptions retaining = options;
  retaining.retention = [&] {
    try {
      retain_checkpoints(directory, keep_last, keep_every, keep);
    } catch (const Error& error) {  // the new one is complete all the same
      log.warn(fmt::format("older checkpoints stay: {}", error.what()));
    }
  };
  return write_checkpoint(communicator, directory, contents, retaining);
}

}  // namespace stanley
