#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "diagnostics/draws.hpp"

namespace stanley {

/// Chains have mixed as far as these tell: both are recommendations of Vehtari et al. 2021 (arXiv
/// 1903.08008, sections 1 and 4): R-hat < 1.01, and an ESS of 100 for each of four chains, in the
/// bulk and in the tails.
inline constexpr double rhat_limit = 1.01;
inline constexpr double ess_limit = 400;

/// The quantiles of a summary.
inline constexpr std::array<double, 3> summary_levels{0.05, 0.5, 0.95};

/// What Convergence and nested_rhat() say about one quantity, NaN where they do.
struct ConvergenceSummary {
  std::int64_t chains = 0, draws = 0;  ///< draws of each chain
  std::int64_t superchains = 0;        ///< 0: the chains form none
  std::int64_t not_finite = 0;         ///< draws that are NaN or infinite
  double mean = 0, sd = 0;
  std::array<double, 3> quantiles{};  ///< at summary_levels
  double mcse_mean = 0, mcse_sd = 0;
  std::array<double, 3> mcse_quantiles{};
  double ess_bulk = 0, ess_tail = 0, ess_mean = 0;
  double rhat = 0;                        ///< the larger of the next two
  double rhat_bulk = 0, rhat_folded = 0;  ///< location and scale
  std::optional<double> nested_rhat{};
};

/// `superchains`: as many groups of equally many chains, one after the other, have a start in
/// common; 0: none have. Throws Error(bug) as Convergence and nested_rhat().
ConvergenceSummary summarize(const ChainDraws& all, std::int64_t superchains = 0);

/// One sentence, without a full stop, that says where the chains have not mixed, or why that can't
/// be told; empty where they have. Example: "energy: the chains have not mixed: their locations
/// differ (R-hat 1.063, limit 1.01); there are few independent draws in the tails (ESS 212 of
/// 400)".
std::string where_not_mixed(std::string_view quantity, const ConvergenceSummary& summary);

}  // namespace stanley
