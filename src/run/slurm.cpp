#include "run/slurm.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <sstream>
#include <string_view>

#include "config/time_limit.hpp"

namespace stanley {
namespace {

using Clock = std::chrono::system_clock;

struct CommandResult {
  bool succeeded = false;
  std::string said;  // to both standard output and standard error
};

CommandResult run_command(const std::string& command) {
  CommandResult result;
  std::FILE* const pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return result;
  std::array<char, 256> part;
  while (std::fgets(part.data(), part.size(), pipe) != nullptr) result.said += part.data();
  result.succeeded = ::pclose(pipe) == 0;
  return result;
}

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

/// One field of a job, in squeue's letters, without the user's own filters, which would hide a job.
CommandResult ask_squeue(const std::string& job, const std::string& format) {
  return run_command(
      "unset SLURM_CLUSTERS SLURM_TIME_FORMAT SQUEUE_ACCOUNT SQUEUE_LICENSES SQUEUE_NAMES "
      "SQUEUE_PARTITION SQUEUE_QOS SQUEUE_USERS; exec timeout -k 1 5 squeue --noheader "
      "--states=all --format=" +
      format + " --jobs=" + job + " 2>&1 </dev/null");
}

/// Whether these are the states of jobs that have ended, one to a line. A job that is requeued is
/// pending, and one that is completing may still have processes.
bool all_ended(const std::string& states) {
  constexpr std::array<std::string_view, 10> final_states{
      "BOOT_FAIL", "CANCELLED",     "COMPLETED", "DEADLINE", "FAILED",
      "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",  "TIMEOUT"};
  std::istringstream lines(states);
  for (std::string line; std::getline(lines, line);) {
    if (std::find(final_states.begin(), final_states.end(), line) == final_states.end()) {
      return false;
    }
  }
  return true;
}

/// A job that still runs after its end has been given more time meanwhile.
std::optional<Clock::time_point> in_future(std::optional<Clock::time_point> end) {
  return end && *end > Clock::now() ? end : std::nullopt;
}

}  // namespace

bool slurm_job_has_ended(const std::string& job) {
  if (!is_number(job)) return false;
  const CommandResult result = ask_squeue(job, "%T");
  // Some minutes after its end a job is forgotten: an error or an empty list, by Slurm's version.
  return result.succeeded ? all_ended(result.said)
                          : result.said.find("Invalid job id specified") != std::string::npos;
}

std::optional<Clock::time_point> slurm_job_end(const Environment& environment) {
  std::string job = value_of(environment, "SLURM_JOB_ID");
  if (!is_number(job)) return std::nullopt;
  // The last task of an array has the array's number, by which squeue would tell of other tasks
  // too.
  const std::string array = value_of(environment, "SLURM_ARRAY_JOB_ID");
  const std::string task = value_of(environment, "SLURM_ARRAY_TASK_ID");
  if (is_number(array) && is_number(task)) job = array + "_" + task;
  const std::string known = value_of(environment, "SLURM_JOB_END_TIME");
  std::int64_t seconds = 0;
  if (is_number(known)) {
    std::from_chars(known.data(), known.data() + known.size(), seconds);
    return in_future(Clock::time_point(std::chrono::seconds(seconds)));
  }
  const CommandResult result = ask_squeue(job, "%e");
  if (!result.succeeded) return std::nullopt;
  // A local time; "N/A", "NONE" or "Unknown" for a job without a limit.
  return in_future(end_time(result.said.substr(0, result.said.find('\n')), Clock::now()));
}

}  // namespace stanley
