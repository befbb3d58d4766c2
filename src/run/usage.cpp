#include "run/usage.hpp"

#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <regex>

namespace stanley {
namespace {

std::optional<double> number_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  double number = 0;
  if (!(file >> number)) return std::nullopt;
  return number;
}

}  // namespace

double peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024;
}

NodeEnergy::NodeEnergy(const std::string& folder) {
  // intel-rapl:0 is a processor; intel-rapl:0:1, a part of it, is counted there already.
  const std::regex package("intel-rapl:[0-9]+");
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (!std::regex_match(entry.path().filename().string(), package)) continue;
    const auto file = entry.path() / "energy_uj";
    const auto now = number_in(file), range = number_in(entry.path() / "max_energy_range_uj");
    if (now && range) counters_.push_back({file.string(), *now, *range});
  }
}

std::optional<double> NodeEnergy::joules() {
  if (counters_.empty()) return std::nullopt;
  double sum = 0;
  for (Counter& counter : counters_) {
    const auto now = number_in(counter.file);
    if (!now) return std::nullopt;
    sum += *now - counter.last + (*now < counter.last ? counter.range : 0);
    counter.last = *now;
  }
  return 1e-6 * sum;
}

}  // namespace stanley
