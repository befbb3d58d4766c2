#include "train/resume.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "config/error.hpp"
#include "config/stages.hpp"
#include "run/version.hpp"
#include "sampling/stored_config.hpp"

namespace stanley {

std::map<std::string, std::string> checkpoint_texts(const Config& config, std::size_t stage,
                                                    const ComputeSetup& setup,
                                                    const std::string& digest_of_data) {
  std::map<std::string, std::string> texts{
      {"config", to_yaml(stage_config(config, stage))},
      {"precision", to_string(setup.precision)},
      {"device", to_string(setup.device.kind)},
      {"versions",
       fmt::format(R"({{"stanley": "{}", "commit": "{}"}})", build_version, build_commit)}};
  if (!setup.energy_file.digest.empty()) texts[energy_digest] = setup.energy_file.digest;
  if (!digest_of_data.empty()) texts[data_digest] = digest_of_data;
  if (!config.stages.empty()) {
    texts[config_of_run] = to_yaml(config);
    texts["stage"] = stage_text(config, stage);
  }
  return texts;
}

void check_resume(const CheckpointHeader& header, const Config& config, bool branch) {
  // A branch goes on from one stage, whatever stages the checkpoint's run had.
  const std::size_t stage = stage_at(config, header.iteration);
  const std::vector<std::string> found =
      branch ? differences(stored_config(header).config, stage_config(config, stage), true)
             : differences(stored_config_of_run(header), config, false);
  if (found.empty()) return;
  const std::string here = stage_text(config, stage);
  throw Error(ExitCode::configuration,
              fmt::format("{} is of another run: {}; {}give the old values, or {}", header.path,
                          fmt::join(found, ", "),
                          branch && !here.empty()
                              ? fmt::format("here iteration {} is of {}; ", header.iteration, here)
                              : "",
                          branch ? "a checkpoint of the same network"
                                 : "branch with --resume CHECKPOINT into another directory "
                                   "(--run-directory)"));
}

Progress progress_of(const CheckpointHeader& header, const Config& config, bool branch) {
  const Config before = stored_config(header).config;
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
  const Config before = stored_config(header).config;
  now.run.seed = before.run.seed;  // other noise is no other rule
  return differences(before, now, false).empty();
}

void check_data(const CheckpointHeader& header, const std::string& digest, const DataConfig& data) {
  const std::string there = header.text(data_digest).value_or("");
  if (there.empty() || digest.empty() || there == digest) return;
  throw Error(
      ExitCode::configuration,
      fmt::format("{} was written with other data: the digest (XXH3) of the split '{}' is {} "
                  "there and {} here ({}); give the file of that time as data.path, or "
                  "branch with --resume CHECKPOINT into another directory (--run-directory)",
                  header.path, data.split, there, digest, data.path));
}

}  // namespace stanley
