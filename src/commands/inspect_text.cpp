#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <sstream>

#include "commands/inspect_report.hpp"
#include "config/error.hpp"
#include "storage/array.hpp"

// The reports of `stanley inspect` as a person reads them.

namespace stanley {
namespace {

std::string size_text(std::int64_t bytes) {
  const auto number = static_cast<double>(bytes);
  if (bytes < 1'000'000) return fmt::format("{:.1f} kB", number / 1e3);
  if (bytes < 1'000'000'000) return fmt::format("{:.1f} MB", number / 1e6);
  return fmt::format("{:.2f} GB", number / 1e9);
}

std::string counted(std::int64_t count, const std::string& noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

/// Names in a column: as wide as the widest, within reason.
template <typename Items>
std::size_t widest_name(const Items& items) {
  std::size_t width = 20;
  for (const auto& item : items) width = std::max(width, item.name.size());
  return std::min<std::size_t>(width, 60);
}

std::string verdict_text(const FileReport& report) {
  std::string text = report.verified() ? "complete, verified" : "NOT TO BE TRUSTED";
  if (report.verified() && !report.notes.empty()) {
    text += fmt::format(" as far as can be told: {}", fmt::join(report.notes, "; "));
  }
  for (const auto& problem : report.problems) text += "\n    " + printable(problem);
  return text;
}

const char* kind_text(FileKind kind) {
  if (kind == FileKind::draws) return "draw file";
  if (kind == FileKind::data) return "data file";
  return kind == FileKind::unknown ? "unknown file" : to_string(kind);
}

/// Schema, iteration, ranks, size.
std::string facts(const FileReport& report) {
  std::vector<std::string> words;
  if (report.iteration) words.push_back(fmt::format("iteration {}", *report.iteration));
  if (report.world_size) {
    words.push_back("written by " + counted(*report.world_size, "rank"));
  }
  if (!report.schema_version.empty()) words.push_back("schema " + report.schema_version);
  words.push_back(size_text(report.bytes));
  return fmt::format("{}", fmt::join(words, ", "));
}

void add_values(std::string& text, const FileReport& report) {
  const char* heading = report.kind == FileKind::checkpoint ? "progress" : "values";
  if (!report.numbers.empty()) text += fmt::format("\n  {}", heading);
  for (const auto& [name, value] : report.numbers) {
    std::visit(
        [&, &name = name](auto number) { text += fmt::format("\n    {:<20} {}", name, number); },
        value);
  }
}

void add_texts(std::string& text, const FileReport& report) {
  bool heading = false;
  for (const auto& [name, value] : report.texts) {
    // The configuration has many lines, and an option of its own.
    const bool many_lines = value.find('\n') != std::string::npos && name != "class_names";
    if (value.empty() || many_lines) continue;
    if (!heading) text += "\n  texts";
    heading = true;
    text += fmt::format("\n    {:<20} {}", printable(name), printable(value));
  }
}

void add_arrays(std::string& text, const FileReport& report) {
  if (report.arrays.empty()) return;
  text += fmt::format("\n  {}", counted(static_cast<std::int64_t>(report.arrays.size()), "array"));
  const std::size_t width = widest_name(report.arrays);
  for (const auto& array : report.arrays) {
    std::string line = fmt::format("\n    {:<{}} {:<8} {}", printable(array.name), width,
                                   array.type, shape_text(array.shape));
    if (array.shards > 0) line += ", " + counted(array.shards, "shard");
    if (array.damaged) line += "  DAMAGED";
    text += line;
  }
}

void add_configuration(std::string& text, const FileReport& report) {
  for (const char* name : {"config", "configuration"}) {
    const auto found = report.texts.find(name);
    if (found == report.texts.end()) continue;
    text += "\n  configuration";
    std::istringstream lines(found->second);
    for (std::string line; std::getline(lines, line);) text += "\n    " + line;
    return;
  }
}

std::string file_text(const FileReport& report, bool configuration) {
  std::string text = fmt::format("{}\n  {}: {}\n  {}", report.path, kind_text(report.kind),
                                 facts(report), verdict_text(report));
  add_values(text, report);
  add_texts(text, report);
  add_arrays(text, report);
  if (configuration) add_configuration(text, report);
  return text;
}

void add_files(std::string& text, const std::string& heading,
               const std::vector<FileReport>& files) {
  text += fmt::format("\n  {}: {}", heading, files.empty() ? "none" : "newest first");
  for (const auto& file : files) {
    const std::string name = file.path.substr(file.path.rfind('/') + 1);
    text += fmt::format("\n    {}: {}", name, facts(file));
    if (file.verified()) text += ", verified";
    for (const auto& problem : file.problems) text += "\n      NOT TO BE TRUSTED: " + problem;
  }
}

std::string run_text(const RunReport& report, bool configuration) {
  std::string text = fmt::format("{}\n  run: {}", report.path,
                                 report.verdict.empty() ? "no verdict" : report.verdict);
  for (const auto& problem : report.problems) text += "\n  NOT TO BE TRUSTED: " + problem;
  if (report.done && report.planned) {
    text += fmt::format("\n  iterations: {} of {}", *report.done, *report.planned);
  }
  for (const auto& event : report.events) {
    text += fmt::format("\n    {}  {} at iteration {}{}{}", event.time, event.what, event.iteration,
                        event.detail.empty() ? "" : ": ", event.detail);
  }
  add_files(text, "checkpoints", report.checkpoints);
  add_files(text, "draw files", report.draws);
  for (const auto& file : report.rejected) text += "\n  rejected: " + file;
  for (const auto& file : report.unfinished) {
    text += fmt::format("\n  unfinished: {} (its writer is at work or was cut off)", file);
  }
  if (configuration && !report.checkpoints.empty()) {
    add_configuration(text, report.checkpoints.front());
  }
  return text;
}

std::string difference_text(const ArrayDifference& array) {
  if (array.equal()) return "equal";
  if (!array.mismatch.empty()) return array.mismatch;
  return fmt::format("{} of {} elements differ, most by {:.6g} at {}", array.differing,
                     array.elements, array.largest, shape_text(array.index));
}

std::string checkpoint_line(const std::string& path, std::int64_t iteration, std::int64_t ranks) {
  return fmt::format("{}: iteration {}, written by {}", path, iteration, counted(ranks, "rank"));
}

}  // namespace

std::string as_text(const std::vector<Inspected>& all, bool configuration) {
  std::string text;
  for (const auto& one : all) {
    if (!text.empty()) text += '\n';
    if (const auto* file = std::get_if<FileReport>(&one)) {
      text += file_text(*file, configuration);
    } else {
      text += run_text(std::get<RunReport>(one), configuration);
    }
  }
  return text;
}

std::string as_text(const CheckpointDifference& difference, const std::string& first,
                    const std::string& second) {
  std::string text =
      checkpoint_line(first, difference.first_iteration, difference.first_world_size) + '\n' +
      checkpoint_line(second, difference.second_iteration, difference.second_world_size);
  text += fmt::format(
      "\n{} of {} equal",
      static_cast<std::int64_t>(difference.arrays.size()) - difference.differing_arrays(),
      counted(static_cast<std::int64_t>(difference.arrays.size()), "array"));
  const std::size_t width = widest_name(difference.arrays);
  for (const auto& array : difference.arrays) {
    text += fmt::format("\n  {:<{}} {}", array.name, width, difference_text(array));
  }
  text += fmt::format("\nprogress: {}", difference.progress.empty() ? "equal" : "differs");
  for (const auto& value : difference.progress) {
    text += fmt::format("\n  {:<20} {} and {}{}", value.name, value.first, value.second,
                        value.clock ? " (a clock: doesn't count)" : "");
  }
  if (!difference.texts.empty()) {
    text += fmt::format("\ntexts that differ, which doesn't count: {}",
                        fmt::join(difference.texts, ", "));
  }
  return text;
}

}  // namespace stanley
