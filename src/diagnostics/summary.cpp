#include "diagnostics/summary.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "diagnostics/convergence.hpp"
#include "diagnostics/nested_rhat.hpp"

namespace stanley {
namespace {

/// Why nothing can be told; empty where something can.
std::string why_unknown(const ConvergenceSummary& summary) {
  if (summary.not_finite > 0) {
    return fmt::format("{} of {} draws are not finite", summary.not_finite,
                       summary.chains * summary.draws);
  }
  if (summary.sd == 0) return "all draws are equal";
  const double nested = summary.nested_rhat.value_or(summary.ess_bulk);
  const bool nothing = std::isnan(summary.ess_bulk) && std::isnan(nested);
  return nothing ? "R-hat and ESS need four draws of each chain" : "";
}

}  // namespace

ConvergenceSummary summarize(const ChainDraws& all, std::int64_t superchains) {
  const Convergence of(all);
  ConvergenceSummary summary{.chains = all.chains,
                             .draws = all.draws,
                             .superchains = superchains,
                             .not_finite = count_not_finite(all.values),
                             .mean = of.mean(),
                             .sd = of.sd(),
                             .mcse_sd = of.mcse_sd(),
                             .ess_bulk = of.ess_bulk(),
                             .ess_mean = of.ess_mean(),
                             .rhat_bulk = of.rhat_bulk(),
                             .rhat_folded = of.rhat_folded()};
  summary.mcse_mean = summary.sd / std::sqrt(summary.ess_mean);
  summary.rhat = std::max(summary.rhat_bulk, summary.rhat_folded);
  std::array<double, 3> effective{};
  for (std::size_t i = 0; i < summary_levels.size(); ++i) {
    const double level = summary_levels[i];
    effective[i] = of.ess_quantile(level);
    summary.quantiles[i] = of.quantile(level);
    summary.mcse_quantiles[i] = of.mcse_quantile(level, effective[i]);
  }
  summary.ess_tail = std::min(effective.front(), effective.back());
  if (superchains > 0) summary.nested_rhat = nested_rhat(all, superchains);
  return summary;
}

std::string where_not_mixed(std::string_view quantity, const ConvergenceSummary& summary) {
  const std::string unknown = why_unknown(summary);
  if (!unknown.empty()) {
    return fmt::format("{}: whether the chains have mixed can't be told: {}", quantity, unknown);
  }
  std::vector<std::string> places;
  const auto above = [&](double value, double limit, const char* what, const char* name) {
    if (!(value > limit)) return;
    places.push_back(fmt::format("{} ({} {:.3f}, limit {:.4g})", what, name, value, limit));
  };
  const auto below = [&](double value, const char* where) {
    if (!(value < ess_limit)) return;
    places.push_back(fmt::format("there are few independent draws in the {} (ESS {:.0f} of {:.0f})",
                                 where, value, ess_limit));
  };
  above(summary.rhat_bulk, rhat_limit, "their locations differ", "R-hat");
  above(summary.rhat_folded, rhat_limit, "their scales differ", "R-hat");
  if (summary.nested_rhat) {
    above(*summary.nested_rhat, nested_rhat_limit(summary.chains / summary.superchains),
          "their starts still tell", "nested R-hat");
  }
  below(summary.ess_bulk, "bulk");
  below(summary.ess_tail, "tails");
  if (places.empty()) return "";
  return fmt::format("{}: the chains have not mixed: {}", quantity, fmt::join(places, "; "));
}

}  // namespace stanley
