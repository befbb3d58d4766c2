#include "run/status.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "config/error.hpp"
#include "run/metrics_end.hpp"
#include "run/owner.hpp"
#include "storage/checkpoint.hpp"
#include "storage/inspection.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

/// Where the last number of a column may stand that has one in few rows.
constexpr std::size_t sparse_bytes = std::size_t{8} << 20;

double now() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since_epoch).count();
}

/// Seconds since a file was written; the clocks of two hosts may differ.
std::optional<double> age_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return std::nullopt;
  return std::max(0.0, now() - static_cast<double>(status.st_mtim.tv_sec) -
                           1e-9 * static_cast<double>(status.st_mtim.tv_nsec));
}

/// Seconds since "2026-11-23T14:05:09Z".
std::optional<double> age_of_time(const std::string& utc) {
  std::tm fields{};
  if (::strptime(utc.c_str(), "%Y-%m-%dT%H:%M:%SZ", &fields) == nullptr) return std::nullopt;
  return std::max(0.0, now() - static_cast<double>(::timegm(&fields)));
}

/// Why a path is no run.
std::string why_no_run(const std::string& path) {
  std::error_code ignored;
  if (fs::exists(path, ignored) && !fs::is_directory(path, ignored)) {
    return "it is a file: give the directory of a run";
  }
  if (::access(path.c_str(), R_OK | X_OK) != 0) {
    return fmt::format("it can't be read ({})", std::strerror(errno));
  }
  return "it has neither run.json nor checkpoints nor metrics.csv";
}

bool looks_like_run(const RunDirectory& directory) {
  const auto files = {directory.record(), directory.checkpoints(), directory.metrics(),
                      directory.owner()};
  std::error_code ignored;
  return std::ranges::any_of(files, [&](const auto& file) { return fs::exists(file, ignored); });
}

/// Why a file of a run that is there can't be read; empty where it can, or isn't there.
std::string why_unreadable(const std::string& path) {
  std::error_code ignored;
  const fs::file_status there = fs::status(path, ignored);
  if (!fs::exists(there)) return "";
  if (!fs::is_regular_file(there)) return "is no regular file";
  if (::access(path.c_str(), R_OK) == 0) return "";
  return fmt::format("can't be read ({})", std::strerror(errno));
}

/// RunDirectory::occupied() asks the file server for its time, for which it writes.
std::optional<OwnerStatus> owner_of(const RunDirectory& directory) {
  const auto owner = read_owner(directory.owner());
  if (!owner) return std::nullopt;
  OwnerStatus status{.host = owner->host, .job = owner->job, .process = owner->process};
  if (owner->error != 0) return status;
  status.seconds_since_heartbeat = std::max(0.0, now() - owner->heartbeat);
  status.alive = !gone(*owner, Claim{}, now());
  return status;
}

bool lives(const RunStatus& status) { return status.owner && status.owner->alive.value_or(true); }

/// What a run without metrics.csv tells of itself.
void read_progress(RunStatus& status, const Json& progress) {
  status.chain_steps_per_second = real_in(progress, "chain_steps_per_second");
  if (status.state == "running") status.seconds_left = real_in(progress, "seconds_left");
}

void read_run_record(RunStatus& status, const RunDirectory& directory) {
  const Json record = read_record_of(directory, status.remarks);
  if (record.is_null()) {
    if (lives(status)) status.state = "starting";
    return;
  }
  status.name = text_in(record, "name");
  status.kind = text_in(record, "kind");
  status.stage = text_in(record, "stage");
  status.state = text_in(record, "verdict");
  if (status.state == "running" && !lives(status)) status.state = "cut off";
  status.iterations = count_in(record, "iterations");
  status.iteration = count_in(record, "iteration");
  if (!status.kind.empty()) read_progress(status, child_of(record, "progress"));
  for (const RunEvent& event : events_of(record)) {
    if (event.what == "roll-back") {
      status.roll_backs.push_back(event);
    } else if (event.what == "start") {
      status.last_start = event;
    } else {
      status.last_stop = event;
    }
  }
}

/// A number of a row, or 0 where it has none.
double or_zero(double value) { return std::isfinite(value) ? value : 0; }

bool is_finite(const MetricsEnd& end, const std::vector<double>& row) {
  return std::ranges::all_of(
      std::initializer_list<const char*>{"energy_data", "energy_chains", "gradient_norm"},
      [&](const char* name) { return !end.place(name) || std::isfinite(end.value(row, name)); });
}

std::optional<TrainingKid> last_kid(const MetricsEnd& end, const std::string& column) {
  for (auto row = end.rows.rbegin(); row != end.rows.rend(); ++row) {
    const double value = end.value(*row, column);
    if (!std::isfinite(value)) continue;
    return TrainingKid{static_cast<std::int64_t>(end.value(*row, "iteration")), value};
  }
  return std::nullopt;
}

void read_training_kid(RunStatus& status, const RunDirectory& directory, MetricsEnd end) {
  if (!end.place("kid_train") && !end.place("kid_test")) return;
  if (!last_kid(end, "kid_train")) end = read_metrics_end(directory.metrics(), sparse_bytes);
  status.kid_train = last_kid(end, "kid_train");
  status.kid_test = last_kid(end, "kid_test");
}

void read_rate(RunStatus& status, const MetricsEnd& end) {
  double seconds = 0, chain_steps = 0;
  std::int64_t iterations = 0;
  for (const auto& row : end.rows) {
    const double of_iteration = end.value(row, "seconds_iteration");
    if (!std::isfinite(of_iteration)) continue;
    ++iterations;
    chain_steps += or_zero(end.value(row, "chain_steps_per_second")) * of_iteration;
    seconds += of_iteration + or_zero(end.value(row, "seconds_files")) +
               or_zero(end.value(row, "seconds_evaluation"));
  }
  if (iterations == 0) return;
  status.seconds_per_iteration = seconds / static_cast<double>(iterations);
  if (seconds > 0) status.chain_steps_per_second = chain_steps / seconds;
  if (status.state == "finished" || !status.iteration || !status.iterations) return;
  const auto left = std::max<std::int64_t>(*status.iterations - *status.iteration, 0);
  status.seconds_left = *status.seconds_per_iteration * static_cast<double>(left);
}

/// Leaves out the rows of earlier starts, on other ranks maybe, once there are later ones.
void keep_last_start(MetricsEnd& end, const RunStatus& status) {
  const double start = status.last_start ? static_cast<double>(status.last_start->iteration) : 0;
  if (end.last("iteration") <= start) return;
  std::erase_if(end.rows, [&](const auto& row) { return end.value(row, "iteration") <= start; });
}

void read_metrics(RunStatus& status, const RunDirectory& directory) {
  MetricsEnd end = read_metrics_end(directory.metrics());
  keep_last_start(end, status);
  status.energy_data = end.last("energy_data");
  status.energy_chains = end.last("energy_chains");
  status.energy_noise = end.last("energy_noise");
  status.gap = end.last("gap");
  status.rows_read = static_cast<std::int64_t>(end.rows.size());
  status.rows_not_finite =
      std::ranges::count_if(end.rows, [&](const auto& row) { return !is_finite(end, row); });
  std::string problem = why_unreadable(directory.metrics());
  if (problem.empty() && !end.names.empty() && !end.place("iteration")) {
    problem = "has no column 'iteration': it is damaged, or another program's";
  }
  if (!problem.empty()) status.remarks.push_back("its metrics.csv " + problem);
  if (end.rows.empty()) return;
  status.iteration = end.iteration();
  status.seconds_since_row = age_of(directory.metrics());
  read_rate(status, end);
  read_training_kid(status, directory, end);
}

CheckpointStatus checkpoint_at(const std::string& path) {
  const FileReport report = inspect_checkpoint_header(path);
  return {.path = path,
          .iteration = report.iteration,
          .bytes = report.bytes,
          .seconds_old = age_of(path).value_or(0),
          .problems = report.problems};
}

/// Looks again where a living run's retention took the file away meanwhile.
std::optional<CheckpointStatus> newest_checkpoint(const std::string& folder) {
  constexpr int attempts = 3;
  std::optional<CheckpointStatus> found;
  for (int attempt = 0; attempt < attempts; ++attempt) {
    const auto iterations = list_checkpoints(folder);
    if (iterations.empty()) return std::nullopt;
    found = checkpoint_at(checkpoint_path(folder, iterations.front()));
    if (!found->iteration) found->iteration = iterations.front();
    std::error_code ignored;
    if (found->problems.empty() || fs::exists(found->path, ignored)) break;
  }
  return found;
}

/// The checkpoint to which a link beside it leads.
std::optional<CheckpointStatus> linked_checkpoint(const std::string& folder, const char* link) {
  std::error_code failure;
  const fs::path target = fs::read_symlink(folder + '/' + link, failure);
  if (failure) return std::nullopt;
  return checkpoint_at((fs::path(folder) / target).string());
}

/// A run, or a branch, that has just begun has none yet.
void remark_on_rows(RunStatus& status, const RunDirectory& directory) {
  std::error_code ignored;
  if (status.rows_read > 0 || !fs::is_regular_file(directory.metrics(), ignored)) return;
  const auto iterations = list_checkpoints(directory.checkpoints());
  const std::int64_t begun = iterations.empty() ? 0 : iterations.back();
  const std::int64_t newest = iterations.empty() ? 0 : iterations.front();
  const std::int64_t done = std::max(newest, status.iteration.value_or(0));
  if (done <= begun) return;
  status.remarks.push_back(
      fmt::format("its metrics.csv has no row, and iteration {} was reached", done));
}

void read_checkpoints(RunStatus& status, const RunDirectory& directory) {
  try {
    status.newest = newest_checkpoint(directory.checkpoints());
    status.best = linked_checkpoint(directory.checkpoints(), "best");
    remark_on_rows(status, directory);
  } catch (const std::exception& exception) {
    status.remarks.emplace_back(as_error(exception).what());
  }
}

EvaluationStatus evaluation_in(const Json& entry) {
  EvaluationStatus found{.time = text_in(entry, "time"),
                         .path = text_in(entry, "path"),
                         .protocol = text_in(child_of(entry, "protocol"), "name"),
                         .iteration = count_in(entry, "iteration"),
                         .states = count_in(entry, "states")};
  found.seconds_old = age_of_time(found.time);
  for (const Json& one : child_of(entry, "results")) {
    if (text_in(one, "name") != "all") continue;
    found.kid = real_in(one, "kid");
    found.fid = real_in(one, "fid");
    const Json interval = child_of(one, "kid_interval_95");
    if (!interval.is_array() || interval.size() != 2 || !interval[0].is_number()) continue;
    found.kid_low = interval[0].get<double>();
    if (interval[1].is_number()) found.kid_high = interval[1].get<double>();
  }
  return found;
}

void read_evaluation(RunStatus& status, const std::string& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return;
  if (const std::string problem = why_unreadable(path); !problem.empty()) {
    status.remarks.push_back("its evaluation.json " + problem);
    return;
  }
  const Json list = Json::parse(read_text(path), nullptr, false);
  for (const Json& entry : child_of(list, "evaluations")) {
    if (!entry.is_object()) continue;
    EvaluationStatus one = evaluation_in(entry);
    // Of equal times the later entry is the newer one.
    if (!status.evaluation || one.time >= status.evaluation->time) status.evaluation = one;
  }
  if (!status.evaluation) status.remarks.emplace_back("its evaluation.json has no result");
}

void remark_on_end(RunStatus& status) {
  const bool well = status.state == "running" || status.state == "finished" ||
                    status.state == "starting" || status.state.empty();
  if (well) return;
  if (status.state == "cut off") {
    status.remarks.emplace_back(
        "its process ended without a last word: the same command goes on from the newest "
        "checkpoint");
  } else if (status.last_stop) {
    const RunEvent& stop = *status.last_stop;
    status.remarks.push_back(fmt::format("it stopped at iteration {}{}{}", stop.iteration,
                                         stop.detail.empty() ? "" : ": ", stop.detail));
  }
}

/// A row is late after a minute, and after twenty times what one takes.
void remark_on_pace(RunStatus& status) {
  if (status.state != "running" || !status.seconds_since_row) return;
  const double usual = status.seconds_per_iteration.value_or(0);
  if (*status.seconds_since_row <= std::max(60.0, 20 * usual)) return;
  status.remarks.push_back(fmt::format(
      "no new row of metrics.csv for {}, where one took {:.2g} s: it writes, waits or hangs",
      time_in_words(*status.seconds_since_row), usual));
}

void remark_on_checkpoint(RunStatus& status, const char* which,
                          const std::optional<CheckpointStatus>& checkpoint) {
  if (!checkpoint || checkpoint->problems.empty()) return;
  status.remarks.push_back(fmt::format("its {} checkpoint {} is not to be trusted: {}", which,
                                       checkpoint->path, checkpoint->problems.front()));
}

void remark(RunStatus& status) {
  remark_on_end(status);
  remark_on_pace(status);
  if (status.rows_not_finite > 0) {
    status.remarks.push_back(
        fmt::format("energies or the weights' gradient are not finite in {} of the last {} rows",
                    status.rows_not_finite, status.rows_read));
  }
  if (!status.roll_backs.empty()) {
    const RunEvent& last = status.roll_backs.back();
    status.remarks.push_back(fmt::format(
        "it was rolled back {}, last from iteration {} {}",
        status.roll_backs.size() == 1 ? "once" : fmt::format("{} times", status.roll_backs.size()),
        last.iteration, last.detail));
  }
  remark_on_checkpoint(status, "newest", status.newest);
  remark_on_checkpoint(status, "best", status.best);
  if (status.owner && !status.owner->alive) {
    status.remarks.emplace_back("its owner.json can't be read: nobody can say whether it lives");
  }
}

}  // namespace

RunStatus read_status(const std::string& path) {
  RunStatus status{.path = path};
  const RunDirectory directory(path);
  status.is_run = looks_like_run(directory);
  if (!status.is_run) {
    status.remarks.push_back(why_no_run(path));
    return status;
  }
  status.owner = owner_of(directory);
  read_run_record(status, directory);
  read_metrics(status, directory);
  read_checkpoints(status, directory);
  read_evaluation(status, path + "/evaluation.json");
  remark(status);
  return status;
}

std::string time_in_words(double seconds) {
  constexpr double most = 1e12;  // more than any clock tells
  if (!std::isfinite(seconds) || seconds > most) return "?";
  const auto whole = static_cast<std::int64_t>(std::llround(std::max(seconds, 0.0)));
  const std::int64_t minutes = whole / 60, hours = minutes / 60;
  if (whole < 60) return fmt::format("{} s", whole);
  if (minutes < 60) return fmt::format("{} min", minutes);
  if (hours < 24) return fmt::format("{} h {:02} min", hours, minutes % 60);
  return fmt::format("{} d {} h", hours / 24, hours % 24);
}

}  // namespace stanley
