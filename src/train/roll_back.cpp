#include "train/roll_back.hpp"

#include "config/error.hpp"

namespace stanley {

CheckpointHeader find_target(Communicator& world, const std::string& directory,
                             const RollbackTargets& targets, std::int64_t now,
                             const FileOptions& options) {
  std::string reasons;
  for (std::int64_t at = targets.newest(now);; at = targets.newest(at)) {
    try {
      return verify_checkpoint(world, checkpoint_path(directory, at), options);
    } catch (const Error& error) {
      if (error.code != ExitCode::input_output) throw;
      reasons += std::string("\n  ") + error.what();
    }
    if (at == targets.base) break;
  }
  throw Error(ExitCode::diverged,
              "the training diverged, and there is no checkpoint to go back to:" + reasons);
}

Divergence first_seen(Communicator& world, const std::optional<Divergence>& mine) {
  const auto told = mine.value_or(Divergence{});
  for (const std::string& text : world.all_gather(told.seen + '\0' + told.advice)) {
    const std::size_t end = text.find('\0');
    if (end > 0) return {text.substr(0, end), text.substr(end + 1)};
  }
  throw Error(ExitCode::bug, "no rank saw the divergence that one told of");
}

}  // namespace stanley
