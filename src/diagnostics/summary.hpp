#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "diagnostics/draws.hpp"

namespace stanley {

/// Chains have mixed as far as these tell, by the recommendations of Vehtari et al. 2021 (arXiv
/// 1903.08008): R-hat below 1.01, and an ESS of 100 for each of four chains, hence 400 in all, in
/// the bulk and in the tails.
inline constexpr double rhat_limit = 1.01;
inline constexpr double ess_limit = 400;

/// √(1.01² + 1/M): above it super-chains of M chains have not forgotten their starts. Of chains
/// that have, means over M differ by B ≤ W/M on average (nested_rhat()), nearly as much where a
/// chain has one draw and much less where it has many; more than R-hat's limit is not to be left
/// beyond that. B of K super-chains is uncertain by √(2/(K − 1)) of itself.
double nested_rhat_limit(std::int64_t chains_per_superchain);

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
