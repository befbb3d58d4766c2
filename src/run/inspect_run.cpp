#include "run/inspect_run.hpp"

#include <filesystem>

#include "run/directory.hpp"
#include "run/metrics_end.hpp"
#include "storage/checkpoint.hpp"
#include "storage/folder.hpp"
#include "storage/json_values.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

void read_record(RunReport& report, const RunDirectory& directory) {
  const Json record = read_record_of(directory, report.problems);
  if (record.is_null()) return;
  report.verdict = text_in(record, "verdict");
  if (report.verdict == "running" && !directory.occupied()) report.verdict = "cut off";
  report.planned = integer_in(record, "iterations");
  report.done = read_metrics_end(directory.metrics()).iteration();
  if (!report.done) report.done = integer_in(record, "iteration");
  report.events = events_of(record);
}

struct Listing {
  std::vector<std::string> checkpoints, draws;
};

/// Rank 0 alone.
Listing list_files(RunReport& report, const RunDirectory& directory) {
  Listing found;
  for (const std::int64_t iteration : list_checkpoints(directory.checkpoints())) {
    found.checkpoints.push_back(checkpoint_path(directory.checkpoints(), iteration));
  }
  for (const std::string& folder : {directory.checkpoints(), directory.samples()}) {
    for (const std::string& file : files_in(folder)) {
      if (is_unfinished_name(file)) {
        report.unfinished.push_back(file);
      } else if (file.ends_with(".nc")) {
        found.draws.push_back(file);
      }
    }
  }
  for (const std::string& attempt : files_in(directory.path() + "/rejected")) {
    for (std::string& file : files_in(attempt)) report.rejected.push_back(std::move(file));
  }
  return found;
}

/// Collective. Rank 0's paths, inspected.
std::vector<FileReport> inspect_files(Communicator& communicator,
                                      const std::vector<std::string>& paths) {
  std::vector<FileReport> reports;
  for (const auto& path : from_first_rank(communicator, [&] { return paths; })) {
    FileReport report = inspect_file(communicator, path);
    std::error_code ignored;
    // Retention of a living run took it away between the listing and the reading.
    const bool removed = !report.verified() && !fs::exists(path, ignored);
    if (!removed) reports.push_back(std::move(report));
  }
  return reports;
}

}  // namespace

RunReport inspect_run(Communicator& communicator, const std::string& path) {
  RunReport report{.path = path};
  const RunDirectory directory(path);
  Listing files;
  if (communicator.rank() == 0) {
    try {
      if (fs::exists(directory.record()) || fs::exists(directory.checkpoints())) {
        read_record(report, directory);
        files = list_files(report, directory);
      } else {
        report.problems.emplace_back(
            "it is no run directory: it has neither run.json nor checkpoints");
      }
    } catch (const std::exception& exception) {
      report.problems.emplace_back(as_error(exception).what());
    }
  }
  report.checkpoints = inspect_files(communicator, files.checkpoints);
  report.draws = inspect_files(communicator, files.draws);
  return report;
}

}  // namespace stanley
