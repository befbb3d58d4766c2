#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "config/config.hpp"
#include "run/log.hpp"

namespace stanley {

/// What one rank says at an iteration's end, each 0 or 1; added up, how many ranks said so.
struct Votes {
  std::int64_t signal = 0;          ///< USR1, TERM or INT asked this rank to stop
  std::int64_t until = 0;           ///< rank 0: run.until is near
  std::int64_t job_end = 0;         ///< rank 0: the end of Slurm's job is near
  std::int64_t checkpoint = 0;      ///< USR2, or rank 0: checkpoint.seconds have passed
  std::int64_t diverged = 0;        ///< the guard saw a divergence
  std::int64_t files_failed = 0;    ///< files in flight failed on this rank
  std::int64_t directory_lost = 0;  ///< rank 0: another run has taken the directory

  /// All of them, to be added up over the ranks.
  std::span<std::int64_t> counts() {
    static_assert(sizeof(Votes) == 7 * sizeof(std::int64_t));
    return {&signal, 7};
  }
};

/// What rank 0's clock is compared with.
struct Deadlines {
  using Time = std::chrono::system_clock::time_point;
  std::optional<Time> until, job_end;  ///< the ends of run.until and of Slurm's job
  Time last_checkpoint{};              ///< when the newest one was begun, or this start
  /// Seconds from one checkpoint to the next; none: the clock asks for none.
  std::optional<double> checkpoint_seconds;
};

/// Throws Error(configuration) where run.until is a time of day that has passed at `began`: it
/// would stop each start of a requeued job after an iteration.
void refuse_past_end(const RunConfig& config, Deadlines::Time began);

/// Rank 0. Finds the ends of a run that began at `began`; says when Slurm's comes first.
void find_deadlines(const RunConfig& config, Deadlines::Time began, Deadlines& deadlines, Log& log);

/// The votes of rank 0's clock, which leaves `margin` seconds for the end.
void vote_by_clock(Deadlines::Time now, double margin, const Deadlines& deadlines, Votes& votes);

/// Seconds that a run leaves itself before its end: room for an iteration and a checkpoint that
/// take as long as the newest ones, s.
double stop_margin(double iteration_seconds, double checkpoint_seconds);

/// Who of all ranks' votes asks for an end: "signal", "run.until", "Slurm's end of the job"; empty:
/// nobody.
std::string asked_to_stop(const Votes& all);

}  // namespace stanley
