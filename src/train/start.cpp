#include "train/start.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "config/error.hpp"
#include "data/dataset.hpp"
#include "parallel/agree.hpp"
#include "run/rejection.hpp"
#include "run/start_checkpoint.hpp"
#include "sampling/stored_config.hpp"
#include "train/resume.hpp"

namespace stanley {
namespace {

/// Rank 0. What is finished must be what was asked for.
void refuse_another_run(const Config& config, const std::string& path) {
  const auto header = read_checkpoint_header(path);
  check_resume(header, config, false);
  std::error_code ignored;
  // A run that is finished needs its data no more.
  if (config.data.type != DataType::file || !std::filesystem::exists(config.data.path, ignored)) {
    return;
  }
  const auto alone = make_local_communicator();
  check_data(header, Dataset::load(config.data, config.run.seed, *alone).file_digest(),
             config.data);
}

/// A file named by --resume from outside of this run's directory.
bool names_checkpoint(const std::string& resume) { return resume != "auto" && resume != "never"; }

/// Rank 0. The same command again goes on with a branch; another run's directory is refused.
/// Returns what --resume means then.
std::string resume_of_branch(const std::string& resume, const RunDirectory& directory,
                             const RunRecord& record) {
  if (list_checkpoints(directory.checkpoints()).empty()) return resume;
  if (record.origin() == resume) return "auto";
  throw Error(ExitCode::input_output,
              fmt::format("{} already holds a run that did not begin from {}; branch into a new "
                          "directory with --run-directory, or go on with --resume auto",
                          directory.path(), resume));
}

/// Rank 0. Finishes a roll-back that was cut off in the middle; the attempts so far.
std::uint32_t finish_roll_back(const RunDirectory& directory, const RunRecord& record) {
  const auto last = record.last_roll_back();
  if (!last) return 0;
  reject_files(directory, last->target, last->attempt);
  return static_cast<std::uint32_t>(last->attempt);
}

/// Takes over what the checkpoint says of the run; says what of it changes now.
void adopt(Start& start, Config& config, Log& log) {
  const CheckpointHeader& header = *start.header;
  const auto unknown = stored_config(header).unknown;
  if (!unknown.empty()) {
    log.warn(fmt::format("{} has keys that this release doesn't know, and goes on without: {}",
                         header.path, fmt::join(unknown, ", ")));
  }
  check_resume(header, config, start.branch);
  if (start.branch && header.iteration >= config.run.iterations) {
    throw Error(ExitCode::configuration,
                fmt::format("{} is of iteration {}, and run.iterations is {}: nothing is left to "
                            "train; raise run.iterations",
                            header.path, header.iteration, config.run.iterations));
  }
  const bool automatic = config.run.device == DeviceKind::automatic;
  for (const auto& change : keep_resolved(header, start.branch, config)) log.warn(change);
  start.kept_on_gpu = automatic && config.run.device == DeviceKind::cuda;
  const auto attempt = static_cast<std::uint32_t>(integer_of(header.progress, "attempt"));
  // The record may be lost; the checkpoint knows how often its run went back.
  if (!start.branch) start.attempt = std::max(start.attempt, attempt);
  log.info(fmt::format("goes on from {} (iteration {})", header.path, header.iteration));
  if (start.branch && attempt > 0) {
    log.info(
        fmt::format("the branch begins as attempt 0, with the whole learning rate and noise "
                    "of its own; its parent was at attempt {}",
                    attempt));
  }
}

}  // namespace

bool already_finished(const Config& config, const std::string& resume,
                      const RunDirectory& directory, Session& session, Log& log) {
  Communicator& world = session.world();
  std::int64_t newest = -1;
  on_first_rank(world, [&] {
    if (!std::filesystem::exists(directory.done())) return;
    const auto iterations = list_checkpoints(directory.checkpoints());
    newest = iterations.empty() ? -1 : iterations.front();
  });
  newest = static_cast<std::int64_t>(world.max(static_cast<double>(newest)));
  if (resume != "auto" || newest < config.run.iterations) return false;
  on_first_rank(
      world, [&] { refuse_another_run(config, checkpoint_path(directory.checkpoints(), newest)); });
  log.info(fmt::format("{} is finished: {} of {} iterations; raise run.iterations to go on",
                       directory.path(), newest, config.run.iterations));
  return true;
}

Start find_start(Config& config, const std::string& resume, const RunDirectory& directory,
                 Verdict& verdict, const FileOptions& options, Session& session, Log& log,
                 Activity& activity) {
  Communicator& world = session.world();
  Start start;
  std::string meant = resume;
  on_first_rank(world, [&] {
    remove_unfinished(directory.checkpoints());
    remove_unfinished(directory.samples());
    start.attempt = finish_roll_back(directory, verdict.record());
    if (names_checkpoint(resume)) meant = resume_of_branch(resume, directory, verdict.record());
  });
  start.attempt = static_cast<std::uint32_t>(world.max(start.attempt));
  meant = world.broadcast(meant, 0);
  start.branch = names_checkpoint(meant);
  activity.enter("verifying checkpoints");
  start.header = find_start_checkpoint(world, meant, directory.checkpoints(), options, log);
  if (start.header) adopt(start, config, log);
  return start;
}

}  // namespace stanley
