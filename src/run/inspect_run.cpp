#include "run/inspect_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>

#include "run/directory.hpp"
#include "storage/checkpoint.hpp"
#include "storage/folder.hpp"
#include "storage/json_values.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::optional<std::int64_t> integer_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return std::nullopt;
  return found->get<std::int64_t>();
}

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

/// The iteration of the last whole row of metrics.csv; a living run may be writing the next one.
std::optional<std::int64_t> last_row(const std::string& path) {
  constexpr std::streamoff tail = 64 << 10;
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return std::nullopt;
  const std::streamoff size = file.tellg();
  file.seekg(std::max<std::streamoff>(size - tail, 0));
  std::string text(static_cast<std::size_t>(std::min(size, tail)), '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  const std::size_t end = text.rfind('\n');
  if (end == std::string::npos || end == 0) return std::nullopt;
  const char* begin = text.data() + (text.rfind('\n', end - 1) + 1);  // npos + 1 is 0
  std::int64_t iteration = 0;
  const auto parsed = std::from_chars(begin, text.data() + end, iteration);
  if (parsed.ec != std::errc()) return std::nullopt;
  return iteration;
}

std::string start_detail(const Json& start) {
  const auto ranks = integer_of(start, "ranks").value_or(1);
  const std::string from = text_of(start, "resumed_from");
  return fmt::format("{} {}{}", ranks, ranks == 1 ? "rank" : "ranks",
                     from.empty() ? "" : ", from " + from);
}

std::string roll_back_detail(const Json& back) {
  return fmt::format("to iteration {} as attempt {}: {}", integer_of(back, "target").value_or(0),
                     integer_of(back, "attempt").value_or(0), text_of(back, "seen"));
}

void read_record(RunReport& report, const RunDirectory& directory) {
  const std::string text = read_text(directory.record());
  if (text.empty()) {
    report.problems.emplace_back("it has no run.json");
    return;
  }
  const Json record = Json::parse(text, nullptr, false);
  if (!record.is_object()) {
    report.problems.emplace_back("its run.json is no JSON object");
    return;
  }
  report.verdict = text_of(record, "verdict");
  if (report.verdict == "running" && !directory.occupied()) report.verdict = "cut off";
  report.planned = integer_of(record, "iterations");
  report.done = last_row(directory.metrics());
  if (!report.done) report.done = integer_of(record, "iteration");
  for (const auto& start : record.value("starts", Json::array())) {
    report.events.push_back({text_of(start, "time"), "start",
                             integer_of(start, "iteration").value_or(0), start_detail(start)});
  }
  for (const auto& stop : record.value("stops", Json::array())) {
    report.events.push_back({text_of(stop, "time"), text_of(stop, "verdict"),
                             integer_of(stop, "iteration").value_or(0), text_of(stop, "message")});
  }
  for (const auto& back : record.value("rollbacks", Json::array())) {
    report.events.push_back({text_of(back, "time"), "roll-back",
                             integer_of(back, "iteration").value_or(0), roll_back_detail(back)});
  }
  // A stop and the start after it may fall into the same second.
  std::stable_sort(report.events.begin(), report.events.end(), [](const auto& a, const auto& b) {
    return std::pair(a.time, a.iteration) < std::pair(b.time, b.iteration);
  });
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
