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

/// A row under an older release's heading, under this one's: nan where that release had no column.
std::string rearranged(const std::string& row, const std::vector<std::string>& old_heading) {
  const std::vector<std::string> old = cells(row);
  std::string line = old.empty() ? "" : old[0];
  for (const auto& [name, member] : columns()) {
    const auto place = static_cast<std::size_t>(
        std::find(old_heading.begin(), old_heading.end(), name) - old_heading.begin());
    line += ',' + (place < old.size() ? old[place] : "nan");
  }
  return line + '\n';
}

/// The heading and the rows up to `iteration`, the last of which is told; the text of a row that
/// was cut off is dropped.
std::string rows_up_to(const std::string& path, std::int64_t iteration, std::int64_t& last) {
  std::ifstream old(path);
  // What can't be read must not be replaced.
  if (!old && errno != ENOENT) throw failure(path, "the metrics can't be read", errno);
  std::string kept = metrics_heading();
  std::string heading, line;
  std::getline(old, heading);
  const bool same = heading + '\n' == kept;
  const std::vector<std::string> names = cells(heading);
  while (std::getline(old, line)) {
    if (old.eof()) break;
    const std::int64_t row = std::strtoll(line.c_str(), nullptr, 10);
    if (row > iteration) break;
    last = row;
    kept += same ? line + '\n' : rearranged(line, names);
  }
  if (old.bad()) throw failure(path, "the metrics can't be read", errno);
  return kept;
}

}  // namespace

std::string metrics_heading() {
  std::string line = "iteration";
  for (const auto& [name, member] : columns()) line += fmt::format(",{}", name);
  return line + '\n';
}

std::string to_csv(const IterationRecord& record) {
  std::string line = std::to_string(record.iteration);
  for (const auto& [name, member] : columns()) line += fmt::format(",{}", record.*member);
  return line + '\n';
}

MetricsFile::MetricsFile(const std::string& path, std::int64_t iteration) : path_(path) {
  replace_file(path, rows_up_to(path, iteration, last_kept_));
  file_.emplace(path, O_WRONLY | O_APPEND);
}

void MetricsFile::append(const IterationRecord& record) {
  const int error = write_whole(file_->number(), to_csv(record));
  if (error != 0) throw failure(path_, "a row of the metrics can't be written", error);
}

void MetricsFile::sync() { bring_to_disk(file_->number(), path_); }

}  // namespace stanley
