#include "run/metrics.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <set>
#include <utility>

#include "config/document.hpp"
#include "config/error.hpp"
#include "run/directory.hpp"

namespace stanley {
namespace {

/// The columns, named once.
std::vector<std::pair<const char*, double IterationRecord::*>> columns() {
  using R = IterationRecord;
  return {{"energy_data", &R::energy_data},
          {"energy_chains", &R::energy_chains},
          {"energy_noise", &R::energy_noise},
          {"gap", &R::gap},
          {"gap_autocorrelation", &R::gap_autocorrelation},
          {"loss", &R::loss},
          {"gradient_norm", &R::gradient_norm},
          {"parameter_norm", &R::parameter_norm},
          {"learning_rate", &R::learning_rate},
          {"restart_probability", &R::restart_probability},
          {"restarts", &R::restarts},
          {"chain_age_mean", &R::chain_age_mean},
          {"chain_age_max", &R::chain_age_max},
          {"counted_share", &R::counted_share},
          {"state_gradient_q10", &R::state_gradient_q10},
          {"state_gradient_q50", &R::state_gradient_q50},
          {"state_gradient_q90", &R::state_gradient_q90},
          {"gain_q10", &R::gain_q10},
          {"gain_q50", &R::gain_q50},
          {"gain_q90", &R::gain_q90},
          {"gain_below_one", &R::gain_below_one},
          {"gain_weighted_drift", &R::gain_weighted_drift},
          {"distance_moved", &R::distance_moved},
          {"chain_scale", &R::chain_scale},
          {"chain_spread", &R::chain_spread},
          {"saturation", &R::saturation},
          {"acceptance_rate", &R::acceptance_rate},
          {"temperature_settled", &R::temperature_settled},
          {"temperature_settled_error", &R::temperature_settled_error},
          {"temperature_law", &R::temperature_law},
          {"temperature_law_error", &R::temperature_law_error},
          {"step_length", &R::step_length},
          {"data_score", &R::data_score},
          {"noise_left", &R::noise_left},
          {"kid_train", &R::kid_train},
          {"kid_test", &R::kid_test},
          {"seconds_chains", &R::seconds_chains},
          {"seconds_gradient", &R::seconds_gradient},
          {"seconds_reduction", &R::seconds_reduction},
          {"seconds_waiting", &R::seconds_waiting},
          {"seconds_guard", &R::seconds_guard},
          {"seconds_files", &R::seconds_files},
          {"seconds_evaluation", &R::seconds_evaluation},
          {"seconds_iteration", &R::seconds_iteration},
          {"chain_steps_per_second", &R::chain_steps_per_second}};
}

Error failure(const std::string& path, const char* what, int error) {
  return FileError(fmt::format("{}: {}: {}", path, what, system_reason(error)));
}

std::string without_end(std::string line) {
  line.pop_back();
  return line;
}

/// A row under another heading, an older release's or another transition's, under this one: nan
/// where that had no column.
std::string rearranged(const std::string& row, const std::vector<std::string>& old_heading,
                       const std::vector<std::string>& heading) {
  const std::vector<std::string> old = split(row, ',');
  std::string line;
  for (const std::string& name : heading) {
    const auto place =
        static_cast<std::size_t>(std::ranges::find(old_heading, name) - old_heading.begin());
    line += (line.empty() ? "" : ",") + (place < old.size() ? old[place] : "nan");
  }
  return line + '\n';
}

FileError not_ours(const std::string& path, const std::string& what) {
  return FileError(
      fmt::format("{} {}: expected what stanley wrote; mend it, or move it away to start a new one",
                  path, what));
}

/// The next line without its end; false where there is none, or one that was cut off.
bool next_line(std::ifstream& file, std::string& line) {
  if (!std::getline(file, line) || file.eof()) return false;
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return true;
}

/// The names in the file's first line; none if it is empty or not there.
std::vector<std::string> read_heading(std::ifstream& file, const std::string& path) {
  // What can't be read must not be replaced.
  if (!file && errno != ENOENT) throw failure(path, "the metrics can't be read", errno);
  std::string line;
  if (!next_line(file, line) && line.empty()) {
    if (file.bad()) throw failure(path, "the metrics can't be read", errno);
    return {};
  }
  std::vector<std::string> heading = split(line, ',');
  const std::set<std::string> names(heading.begin(), heading.end());
  if (!names.contains("iteration") || names.size() != heading.size()) {
    throw not_ours(path,
                   "has a first line that does not name its columns, the iteration among "
                   "them, each once");
  }
  return heading;
}

/// The whole number in this column; 0 where a row hasn't so many columns. Files may have a million
/// rows: this doesn't take them apart.
std::int64_t number_in(const std::string& row, std::size_t column, std::size_t columns) {
  const auto commas = static_cast<std::size_t>(std::ranges::count(row, ','));
  if (commas + 1 != columns || row.ends_with(',')) return 0;
  std::size_t begin = 0;
  for (; column > 0; --column) begin = row.find(',', begin) + 1;
  return std::strtoll(row.c_str() + begin, nullptr, 10);
}

/// Calls take(row) for the rows up to `iteration`, and returns that of the last. What is no row is
/// an error where a row is missing: it may be what is left of it.
template <typename Take>
std::int64_t for_each_row(std::ifstream& file, const std::string& path,
                          const std::vector<std::string>& heading, std::int64_t iteration,
                          const Take& take) {
  const auto column =
      static_cast<std::size_t>(std::ranges::find(heading, "iteration") - heading.begin());
  std::int64_t last = 0;
  std::string row;
  for (int line = 2; next_line(file, row); ++line) {
    const std::int64_t number = number_in(row, column, heading.size());
    if (number > iteration || (number <= last && last >= iteration)) break;
    if (number <= last) {
      throw not_ours(path, fmt::format("has no row of a later iteration in line {}", line));
    }
    last = number;
    take(row);
  }
  if (file.bad()) throw failure(path, "the metrics can't be read", errno);
  return last;
}

}  // namespace

double& IterationRecord::column(const std::string& name) {
  for (const auto& [known, member] : columns()) {
    if (name == known) return this->*member;
  }
  const auto one = std::ranges::find(more, name, &std::pair<std::string, double>::first);
  return one != more.end() ? one->second : more.emplace_back(name, undefined).second;
}

std::vector<std::string> more_columns(const std::vector<std::string>& names) {
  IterationRecord record;
  for (const std::string& name : names) record.column(name);
  std::vector<std::string> more;
  for (const auto& [name, value] : record.more) more.push_back(name);
  return more;
}

std::string metrics_heading(const std::vector<std::string>& more) {
  std::string line = "iteration";
  for (const auto& [name, member] : columns()) line += fmt::format(",{}", name);
  for (const std::string& name : more) line += ',' + name;
  return line + '\n';
}

std::string to_csv(const IterationRecord& record) {
  std::string line = std::to_string(record.iteration);
  for (const auto& [name, member] : columns()) line += fmt::format(",{}", record.*member);
  for (const auto& [name, value] : record.more) line += fmt::format(",{}", value);
  return line + '\n';
}

MetricsFile::MetricsFile(const std::string& path, std::int64_t iteration,
                         const std::vector<std::string>& more)
    : path_(path) {
  std::ifstream old(path);
  const std::vector<std::string> old_heading = read_heading(old, path);
  std::vector<std::string> heading = split(without_end(metrics_heading(more)), ',');
  // Columns that nobody writes any more stay: another transition's, or somebody's own.
  for (const std::string& name : old_heading) {
    if (std::ranges::find(heading, name) != heading.end()) continue;
    heading.push_back(name);
    filling_ += ",nan";
  }
  const bool same = heading == old_heading;
  std::string text = fmt::format("{}\n", fmt::join(heading, ","));
  if (!old_heading.empty()) {
    last_kept_ = for_each_row(old, path, old_heading, iteration, [&](const std::string& row) {
      text += same ? row + '\n' : rearranged(row, old_heading, heading);
    });
  }
  replace_file(path, text);
  file_.emplace(path, O_WRONLY | O_APPEND);
}

void MetricsFile::append(const IterationRecord& record) {
  const int error = write_whole(file_->number(), without_end(to_csv(record)) + filling_ + '\n');
  if (error != 0) throw failure(path_, "a row of the metrics can't be written", error);
}

void MetricsFile::sync() { bring_to_disk(file_->number(), path_); }

}  // namespace stanley
