#include "train/resume.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <filesystem>
#include <optional>

#include "config/error.hpp"
#include "parallel/agree.hpp"

namespace stanley {
namespace {

/// Whether a resumed run may have another value of this key: where and for how long it runs, what
/// it writes and when, how it is watched. The rest makes it another run; a branch may change all
/// but the network.
bool may_change(const std::string& path, bool branch) {
  const auto below = [&](const std::string& section) { return path.starts_with(section + "."); };
  if (path == "energy.path") return true;  // see check_energy_file()
  if (branch) return !below("energy");
  if (below("run")) return path != "run.seed" && path != "run.reproducible";
  if (below("log") || below("samples") || below("checkpoint") || below("guard") ||
      below("watchdog") || below("evaluation")) {
    return true;
  }
  return path == "data.path" || path == "optimizer.schedule.end";
}

/// "sampler.steps is 20 there and 10 here", for each key that differs although it must not.
std::vector<std::string> differences(const Config& before, const Config& now, bool branch) {
  std::vector<std::string> found;
  const auto there = key_values(before), here = key_values(now);
  for (std::size_t i = 0; i < here.size(); ++i) {
    if (there[i].second == here[i].second || may_change(here[i].first, branch)) continue;
    found.push_back(
        fmt::format("{} is {} there and {} here", here[i].first, there[i].second, here[i].second));
  }
  return found;
}

/// The text of this name, or nothing.
std::optional<std::string> text_of(const CheckpointHeader& header, const char* name) {
  const auto found = header.texts.find(name);
  return found == header.texts.end() ? std::nullopt : std::optional(found->second);
}

bool can_be_read(const CheckpointHeader& header, const std::string& text) {
  try {
    parse_stored_config(text, header.path, {});
    return true;
  } catch (const Error&) {
    return false;
  }
}

StoredConfig read_stored(const CheckpointHeader& header,
                         const std::vector<std::string>& overrides) {
  const auto text = text_of(header, "config");
  if (!text) {
    throw Error(ExitCode::input_output,
                header.path + " holds no configuration; it was not written by a training");
  }
  try {
    return parse_stored_config(*text, header.path, overrides);
  } catch (const Error& error) {
    const std::string what = error.what();
    // An override may be wrong beside a key of the text, whose place is told.
    if (!what.starts_with(header.path) || (!overrides.empty() && can_be_read(header, *text))) throw;
    throw Error(ExitCode::input_output,
                fmt::format("{}; this release can't read that configuration: use the one that "
                            "wrote it ({})",
                            what, text_of(header, "versions").value_or("unknown")));
  }
}

}  // namespace

Config stored_config(const CheckpointHeader& header, const std::vector<std::string>& overrides) {
  return read_stored(header, overrides).config;
}

std::vector<std::string> unknown_keys(const CheckpointHeader& header) {
  return read_stored(header, {}).unknown;
}

std::optional<CheckpointHeader> find_start(Communicator& communicator, const std::string& resume,
                                           const std::string& directory, const FileOptions& options,
                                           Log& log) {
  if (resume == "never") {
    agree(communicator, [&] {
      if (communicator.rank() != 0 || list_checkpoints(directory).empty()) return;
      throw Error(ExitCode::input_output,
                  fmt::format("{} holds checkpoints of a run, and --resume never would overwrite "
                              "it; choose another directory with --run-directory, or go on with "
                              "--resume auto",
                              directory));
    });
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
  const std::vector<std::string> found = differences(stored_config(header, {}), config, branch);
  if (found.empty()) return;
  throw Error(ExitCode::configuration,
              fmt::format("{} is of another run: {}; give the old values, or {}", header.path,
                          fmt::join(found, ", "),
                          branch ? "a checkpoint of the same network"
                                 : "branch with --resume CHECKPOINT into another directory "
                                   "(--run-directory)"));
}

std::vector<std::string> keep_resolved(const CheckpointHeader& header, bool branch,
                                       Config& config) {
  std::vector<std::string> changes;
  const auto keep = [&](const char* name, auto& value, const auto automatic, const auto& choices) {
    const std::string before = text_of(header, name).value_or(to_string(automatic));
    for (const auto choice : choices) {
      if (to_string(choice) != before) continue;
      if (value == automatic) value = choice;
      if (value != choice) {
        changes.push_back(
            fmt::format("{} computed with {} {}, and goes on with {}, as run.{} asks: "
                        "its numbers change with that",
                        header.path, name, before, to_string(value), name));
      }
    }
  };
  keep("precision", config.run.precision, Precision::automatic,
       std::array{Precision::float32, Precision::bfloat16});
  if (!branch) {
    keep("device", config.run.device, DeviceKind::automatic,
         std::array{DeviceKind::cpu, DeviceKind::cuda});
  }
  return changes;
}

Progress progress_of(const CheckpointHeader& header, const Config& config, bool branch) {
  const Config before = stored_config(header, {});
  Progress progress = header.progress;
  progress.try_emplace("chain_steps", header.iteration * before.sampler.steps);
  progress.try_emplace("schedule_end", before.run.iterations);
  if (branch) progress["schedule_end"] = config.run.iterations;
  return progress;
}

std::string moved_end_note(const Config& config, const Progress& progress) {
  const std::int64_t end = integer_of(progress, "schedule_end");
  const Schedule& schedule = config.optimizer.schedule;
  const bool rate = schedule.type == ScheduleType::cosine && !schedule.end;
  const auto& restarts = config.chains.restart_probability;
  if (end == config.run.iterations || (!rate && restarts.from == restarts.to)) return "";
  const bool falls = restarts.from != restarts.to;
  return fmt::format(
      "run.iterations is {}, but {}{}{} at iteration {}, as the run was planned; {}a branch "
      "(--resume CHECKPOINT --run-directory NEW) plans anew",
      config.run.iterations, rate ? "the learning rate's schedule ends" : "",
      rate && falls ? " and " : "", falls ? "chains.restart_probability reaches its end" : "", end,
      rate ? "optimizer.schedule.end sets another end of the learning rate's, and " : "");
}

bool learns_alike(const CheckpointHeader& header, const Config& config) {
  Config now = config;
  const Config before = stored_config(header, {});
  now.run.seed = before.run.seed;  // other noise is no other rule
  return differences(before, now, false).empty();
}

void check_data(const CheckpointHeader& header, const std::string& digest, const DataConfig& data) {
  const auto found = header.texts.find(data_digest);
  if (found == header.texts.end() || digest.empty() || found->second == digest) return;
  throw Error(
      ExitCode::configuration,
      fmt::format("{} was written with other data: the digest (XXH3) of the split '{}' is {} "
                  "there and {} here ({}); give the file of that time as data.path, or "
                  "branch with --resume CHECKPOINT into another directory (--run-directory)",
                  header.path, data.split, found->second, digest, data.path));
}

void check_energy_file(const CheckpointHeader& header, const Config& config,
                       const std::string& digest) {
  const auto found = header.texts.find(energy_digest);
  const std::string stored = found == header.texts.end() ? "" : found->second;
  if (stored == digest) return;
  const auto named = [](const std::string& text) { return text.empty() ? "none" : text; };
  throw Error(
      ExitCode::configuration,
      fmt::format("{} was written with another energy: the digest (XXH3) of its TorchScript "
                  "file is {} there and {} here ({}); give the file of that time as "
                  "energy.path, or train the other one from its start with --resume never "
                  "in another directory (--run-directory)",
                  header.path, named(stored), named(digest),
                  config.energy.path.empty() ? "energy.path is not set" : config.energy.path));
}

}  // namespace stanley
