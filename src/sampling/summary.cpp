#include "sampling/summary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace stanley {
namespace {

using Json = nlohmann::ordered_json;

/// ESS is of the chains that are kept; all of them have as much more.
double ess_of_all(const SamplingSummary& summary, double ess) {
  return ess * static_cast<double>(summary.chains) / static_cast<double>(summary.kept_chains);
}

double per_second(const SamplingSummary& summary, const ConvergenceSummary& one) {
  return ess_of_all(summary, one.ess_bulk) / summary.seconds;
}

double per_gradient(const SamplingSummary& summary, const ConvergenceSummary& one) {
  return ess_of_all(summary, one.ess_bulk) /
         (summary.gradients * static_cast<double>(summary.chains));
}

/// JSON has no numbers that are not finite.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(); }

std::string shortly(double value) {
  return std::isfinite(value) ? fmt::format("{:.4g}", value) : "–";
}

/// "0.52", or "0.48 to 0.55 over 8 shards".
std::string step_size_words(const std::vector<double>& sizes) {
  const auto [low, high] = std::ranges::minmax(sizes);
  if (sizes.size() == 1) return fmt::format("{:.4g}", low);
  return fmt::format("{:.4g} to {:.4g} over {} shards", low, high, sizes.size());
}

Json quantity_json(const SamplingSummary& summary, std::size_t i) {
  const ConvergenceSummary& one = summary.quantities[i];
  return {{"name", summary.names[i]},
          {"mean", number(one.mean)},
          {"sd", number(one.sd)},
          {"mcse_mean", number(one.mcse_mean)},
          {"mcse_sd", number(one.mcse_sd)},
          {"rhat", number(one.rhat)},
          {"nested_rhat", one.nested_rhat ? number(*one.nested_rhat) : Json()},
          {"ess_bulk", number(one.ess_bulk)},
          {"ess_tail", number(one.ess_tail)},
          {"ess_bulk_per_second", number(per_second(summary, one))},
          {"ess_bulk_per_gradient", number(per_gradient(summary, one))},
          {"quantiles",
           {number(one.quantiles[0]), number(one.quantiles[1]), number(one.quantiles[2])}}};
}

}  // namespace

SamplingSummary sum_up(const Config& config, SampledChains& chains, const KeptScalars& kept,
                       std::int64_t total, std::int64_t draws, double seconds,
                       Communicator& communicator) {
  SamplingSummary summary{.chains = total,
                          .draws = draws,
                          .kept_chains = kept.chains(),
                          .kept_draws = kept.draws(),
                          .kept_every = kept.every(),
                          .seconds = seconds,
                          .gradients = chains.gradients(),
                          .temperature = config.sampler.temperature_value(),
                          .told = chains.told(),
                          .step_sizes = chains.step_sizes(),
                          .unadjusted = chains.unadjusted_until(),
                          .chains_per_start = config.sampling.chains_per_start,
                          .names = {},
                          .quantities = {},
                          .not_mixed = {}};
  const std::vector<double> all = kept.gather(communicator);
  if (communicator.rank() != 0) return summary;
  const auto each = static_cast<std::size_t>(kept.chains() * kept.draws());
  const std::int64_t together = summary.chains_per_start;
  for (std::int64_t i = 0; i < kept.quantities(); ++i) {
    const std::span<const double> values =
        std::span(all).subspan(static_cast<std::size_t>(i) * each, each);
    summary.names.push_back(kept.name(i));
    summary.quantities.push_back(summarize({values, kept.chains(), kept.draws()},
                                           together > 1 ? kept.chains() / together : 0));
    std::string sentence = where_not_mixed(summary.names.back(), summary.quantities.back());
    if (!sentence.empty()) summary.not_mixed.push_back(std::move(sentence));
  }
  return summary;
}

std::vector<std::string> lines_of(const SamplingSummary& summary) {
  const bool nested = summary.chains_per_start > 1;
  std::vector<std::string> lines{
      fmt::format(
          "{} draws of each of {} chains; this table is of {} chains and every {} draw",
          summary.draws, summary.chains,
          summary.kept_chains == summary.chains ? "all" : std::to_string(summary.kept_chains),
          summary.kept_every == 1 ? "single" : fmt::format("{}th", summary.kept_every)),
      fmt::format("{:<10}{:>12}{:>12}{:>12}{:>9}{:>9}{:>10}{:>10}{:>12}{:>14}", "", "mean", "sd",
                  "MCSE", "R-hat", nested ? "nested" : "", "ESS bulk", "ESS tail", "ESS/s",
                  "ESS/gradient")};
  for (std::size_t i = 0; i < summary.quantities.size(); ++i) {
    const ConvergenceSummary& one = summary.quantities[i];
    lines.push_back(
        fmt::format("{:<10}{:>12}{:>12}{:>12}{:>9}{:>9}{:>10}{:>10}{:>12}{:>14}", summary.names[i],
                    shortly(one.mean), shortly(one.sd), shortly(one.mcse_mean),
                    std::isfinite(one.rhat) ? fmt::format("{:.3f}", one.rhat) : "–",
                    one.nested_rhat ? fmt::format("{:.3f}", *one.nested_rhat) : "",
                    fmt::format("{:.0f}", one.ess_bulk), fmt::format("{:.0f}", one.ess_tail),
                    shortly(per_second(summary, one)), shortly(per_gradient(summary, one))));
  }
  std::string steps = fmt::format("accepted {:.3f} of all steps, α {}", summary.told.acceptance,
                                  step_size_words(summary.step_sizes));
  if (std::isfinite(summary.told.temperature.value)) {
    steps +=
        fmt::format(", thermometer {:.4g} ± {:.2g} (T = {:.4g})", summary.told.temperature.value,
                    summary.told.temperature.error, summary.temperature);
  }
  lines.push_back(steps);
  if (summary.unadjusted > 0) {
    lines.push_back(
        fmt::format("the first {} steps of the warm-up were not corrected", summary.unadjusted));
  }
  for (const std::string& sentence : summary.not_mixed) lines.push_back(sentence);
  if (summary.not_mixed.empty()) lines.emplace_back("the chains have mixed, as far as this tells");
  return lines;
}

std::string json_of(const SamplingSummary& summary) {
  Json quantities = Json::array();
  for (std::size_t i = 0; i < summary.quantities.size(); ++i) {
    quantities.push_back(quantity_json(summary, i));
  }
  const Json json{{"chains", summary.chains},
                  {"draws", summary.draws},
                  {"chains_per_start", summary.chains_per_start},
                  {"kept_chains", summary.kept_chains},
                  {"kept_draws", summary.kept_draws},
                  {"kept_every", summary.kept_every},
                  {"seconds", number(summary.seconds)},
                  {"gradients_per_chain", number(summary.gradients)},
                  {"acceptance", number(summary.told.acceptance)},
                  {"temperature", number(summary.temperature)},
                  {"thermometer", number(summary.told.temperature.value)},
                  {"thermometer_error", number(summary.told.temperature.error)},
                  {"step_sizes", summary.step_sizes},
                  {"unadjusted_steps", summary.unadjusted},
                  {"quantities", std::move(quantities)},
                  {"mixed", summary.not_mixed.empty()},
                  {"not_mixed", summary.not_mixed}};
  return json.dump(2) + '\n';
}

}  // namespace stanley
