#include "run/deadlines.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>

#include "config/error.hpp"
#include "config/time_limit.hpp"
#include "run/slurm.hpp"

namespace stanley {
namespace {

/// Enough for the end of a run whose iterations and checkpoints take no time.
constexpr double least_margin = 2;

}  // namespace

void refuse_past_end(const RunConfig& config, Deadlines::Time began) {
  if (!config.until) return;
  const auto end = end_time(*config.until, began);
  if (!end || *end > began) return;
  throw Error(ExitCode::configuration,
              fmt::format("run.until {} has passed: give a later time, a duration such as 3h30m, "
                          "or leave it out",
                          *config.until));
}

void find_deadlines(const RunConfig& config, Deadlines::Time began, Deadlines& deadlines,
                    Log& log) {
  deadlines.last_checkpoint = std::chrono::system_clock::now();
  if (config.until) deadlines.until = end_time(*config.until, began);
  const auto& end = deadlines.job_end = slurm_job_end(process_environment());
  if (!end || (deadlines.until && *deadlines.until <= *end)) return;
  log.info(fmt::format("Slurm ends this job at {:%Y-%m-%d %H:%M:%S}: the run stops in time",
                       fmt::localtime(std::chrono::system_clock::to_time_t(*end))));
}

void vote_by_clock(Deadlines::Time now, double margin, const Deadlines& deadlines, Votes& votes) {
  const auto seconds_to = [now](Deadlines::Time end) {
    return std::chrono::duration<double>(end - now).count();
  };
  const auto near = [&](const auto& end) { return end && seconds_to(*end) <= margin; };
  votes.until = near(deadlines.until);
  votes.job_end = near(deadlines.job_end);
  if (deadlines.checkpoint_seconds &&
      -seconds_to(deadlines.last_checkpoint) >= *deadlines.checkpoint_seconds) {
    votes.checkpoint = 1;
  }
}

double stop_margin(double iteration_seconds, double checkpoint_seconds) {
  return std::max(least_margin, 2 * iteration_seconds + 1.5 * checkpoint_seconds);
}

std::string asked_to_stop(const Votes& all) {
  return all.signal > 0    ? "signal"
         : all.until > 0   ? "run.until"
         : all.job_end > 0 ? "Slurm's end of the job"
                           : "";
}

}  // namespace stanley
