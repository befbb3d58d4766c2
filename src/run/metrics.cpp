#include "run/metrics.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <utility>

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
          {"seconds_chains", &R::seconds_chains},
          {"seconds_gradient", &R::seconds_gradient},
          {"seconds_reduction", &R::seconds_reduction},
          {"seconds_waiting", &R::seconds_waiting},
          {"seconds_guard", &R::seconds_guard},
          {"seconds_files", &R::seconds_files},
          {"seconds_iteration", &R::seconds_iteration},
          {"chain_steps_per_second", &R::chain_steps_per_second}};
}

Error failure(const std::string& path, const char* what, int error) {
  return FileError(fmt::format("{}: {}: {}", path, what, system_reason(error)));
}

std::vector<std::string> cells(const std::string& line) {
  std::vector<std::string> result;
  std::istringstream text(line);
  for (std::string cell; std::getline(text, cell, ',');) result.push_back(cell);
  return result;
}

/// A row under another heading, an older release's or another transition's, under this one: nan
/// where that had no column.
std::string rearranged(const std::string& row, const std::vector<std::string>& old_heading,
                       const std::vector<std::string>& heading) {
  const std::vector<std::string> old = cells(row);
  std::string line;
  for (const std::string& name : heading) {
    const auto place =
        static_cast<std::size_t>(std::ranges::find(old_heading, name) - old_heading.begin());
    line += (line.empty() ? "" : ",") + (place < old.size() ? old[place] : "nan");
  }
  return line + '\n';
}

/// The heading and the rows up to `iteration`, the last of which is told; the text of a row that
/// was cut off is dropped.
std::string rows_up_to(const std::string& path, std::int64_t iteration,
                       const std::string& heading_now, std::int64_t& last) {
  std::ifstream old(path);
  // What can't be read must not be replaced.
  if (!old && errno != ENOENT) throw failure(path, "the metrics can't be read", errno);
  std::string kept = heading_now;
  std::string heading, line;
  std::getline(old, heading);
  const bool same = heading + '\n' == kept;
  const std::vector<std::string> names = cells(heading),
                                 names_now = cells(heading_now.substr(0, heading_now.size() - 1));
  while (std::getline(old, line)) {
    if (old.eof()) break;
    const std::int64_t row = std::strtoll(line.c_str(), nullptr, 10);
    if (row > iteration) break;
    last = row;
    kept += same ? line + '\n' : rearranged(line, names, names_now);
  }
  if (old.bad()) throw failure(path, "the metrics can't be read", errno);
  return kept;
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
  replace_file(path, rows_up_to(path, iteration, metrics_heading(more), last_kept_));
  file_.emplace(path, O_WRONLY | O_APPEND);
}

void MetricsFile::append(const IterationRecord& record) {
  const int error = write_whole(file_->number(), to_csv(record));
  if (error != 0) throw failure(path_, "a row of the metrics can't be written", error);
}

void MetricsFile::sync() { bring_to_disk(file_->number(), path_); }

}  // namespace stanley
