// Prints what the diagnostics say about draws, as JSON, for the comparison with ArviZ.
// usage: diagnose FILE CHAINS SUPERCHAINS   FILE: float64 [chain][draw]
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "diagnostics/autocovariance.hpp"
#include "diagnostics/convergence.hpp"
#include "diagnostics/summary.hpp"

namespace {

std::vector<double> read_draws(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  std::vector<double> values(bytes.size() / sizeof(double));
  std::copy_n(bytes.data(), values.size() * sizeof(double), reinterpret_cast<char*>(values.data()));
  return values;
}

/// As Python reads it.
std::string in_json(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  return fmt::format("{:.17g}", value);
}

std::string in_json(const auto& values) {
  std::vector<std::string> numbers;
  for (const double value : values) numbers.push_back(in_json(value));
  return fmt::format("[{}]", fmt::join(numbers, ", "));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: diagnose FILE CHAINS SUPERCHAINS\n";
    return 2;
  }
  const std::vector<double> values = read_draws(argv[1]);
  const std::int64_t chains = std::stoll(argv[2]), superchains = std::stoll(argv[3]);
  const stanley::ChainDraws draws{values, chains,
                                  static_cast<std::int64_t>(values.size()) / chains};
  const stanley::ConvergenceSummary summary = stanley::summarize(draws, superchains);
  const stanley::Convergence alone(draws);
  std::vector<std::string> lines;
  const auto print = [&](const char* name, const auto& value) {
    lines.push_back(fmt::format("\"{}\": {}", name, in_json(value)));
  };
  print("mean", summary.mean);
  print("sd", summary.sd);
  print("quantiles", summary.quantiles);
  print("mcse_mean", summary.mcse_mean);
  print("mcse_sd", summary.mcse_sd);
  print("mcse_quantiles", summary.mcse_quantiles);
  print("ess_bulk", summary.ess_bulk);
  print("ess_tail", summary.ess_tail);
  print("ess_mean", summary.ess_mean);
  print("rhat", summary.rhat);
  print("rhat_bulk", summary.rhat_bulk);
  print("rhat_folded", summary.rhat_folded);
  if (summary.nested_rhat) print("nested_rhat", *summary.nested_rhat);
  print("autocovariance", stanley::autocovariance(draws));
  print("autocorrelation", stanley::autocorrelation(draws));
  // Alone, not beside others that it shares numbers with.
  print("alone", std::vector{alone.rhat(), alone.ess_tail(), alone.mcse_mean(),
                             alone.mcse_quantile(0.25), alone.ess_quantile(0.25)});
  std::cout << fmt::format("{{{}}}\n", fmt::join(lines, ",\n"));
}
