#include "train/resume.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>

#include "config/error.hpp"

namespace stanley {
namespace {

/// Names of the sections that differ although they must not.
std::vector<std::string> differences(Config before, Config now, bool branch) {
  std::vector<std::string> names;
  const auto check = [&names](const char* name, bool equal) {
    if (!equal) names.emplace_back(name);
  };
  check("energy", before.energy == now.energy);
  if (branch) return names;
  // Where the data lies may change, and the end of the learning rate's schedule.
  before.data.path = now.data.path;
  before.optimizer.schedule.end = now.optimizer.schedule.end;
  check("data", before.data == now.data);
  check("chains", before.chains == now.chains);
  check("sampler", before.sampler == now.sampler);
  check("objective", before.objective == now.objective);
  check("optimizer", before.optimizer == now.optimizer);
  check("run.seed", before.run.seed == now.run.seed);
  check("run.reproducible", before.run.reproducible == now.run.reproducible);
  return names;
}

}  // namespace

Config stored_config(const CheckpointHeader& header, const std::vector<std::string>& overrides) {
  const auto text = header.texts.find("config");
  if (text == header.texts.end()) {
    throw Error(ExitCode::input_output,
                header.path + " holds no configuration; it was not written by a training");
  }
  return parse_config(text->second, header.path, overrides);
}

std::optional<CheckpointHeader> find_start(Communicator& communicator, const std::string& resume,
                                           const std::string& directory, const FileOptions& options,
                                           Log& log) {
  if (resume == "never") {
    if (!list_checkpoints(directory).empty()) {
      throw Error(ExitCode::input_output,
                  fmt::format("{} holds checkpoints of a run, and --resume never would overwrite "
                              "it; choose another directory with --run-directory, or go on with "
                              "--resume auto",
                              directory));
    }
    return std::nullopt;
  }
  if (resume != "auto") return verify_checkpoint(communicator, resume, options);
  FoundCheckpoint found = find_checkpoint(communicator, directory, options);
  for (const PassedOver& one : found.passed_over) {
    log.warn(fmt::format("passed over {}: {}", one.path, one.reason));
  }
  return found.header;
}

void check_resume(const CheckpointHeader& header, const Config& config, bool branch) {
  const std::vector<std::string> names = differences(stored_config(header, {}), config, branch);
  if (names.empty()) return;
  throw Error(ExitCode::configuration,
              fmt::format("{} is of a run with another {}: compare with the config.yaml beside it, "
                          "give the old values, or start anew in another directory "
                          "(--run-directory)",
                          header.path, fmt::join(names, ", ")));
}

}  // namespace stanley
