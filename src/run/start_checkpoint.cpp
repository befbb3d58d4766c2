#include "run/start_checkpoint.hpp"

#include <fmt/format.h>

#include "config/error.hpp"
#include "parallel/agree.hpp"

namespace stanley {

std::optional<CheckpointHeader> find_start_checkpoint(Communicator& world,
                                                      const std::string& resume,
                                                      const std::string& directory,
                                                      const FileOptions& options, Log& log) {
  if (resume == "never") {
    on_first_rank(world, [&] {
      if (list_checkpoints(directory).empty()) return;
      throw Error(ExitCode::input_output,
                  fmt::format("{} holds checkpoints of a run, and --resume never would overwrite "
                              "it; choose another directory with --run-directory, or go on with "
                              "--resume auto",
                              directory));
    });
    return std::nullopt;
  }
  if (resume != "auto") return verify_checkpoint(world, resume, options);
  FoundCheckpoint found = find_checkpoint(world, directory, options);
  for (const PassedOver& one : found.passed_over) {
    log.warn(fmt::format("passed over {}: {}", one.path, one.reason));
  }
  return found.header;
}

}  // namespace stanley
