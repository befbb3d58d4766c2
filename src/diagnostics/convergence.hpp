#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "diagnostics/autocovariance.hpp"
#include "diagnostics/draws.hpp"
#include "diagnostics/ranks.hpp"

namespace stanley {

/// How far the chains of one quantity have converged, and how precise what they say is: R-hat,
/// effective sample sizes (ESS) and Monte Carlo standard errors (MCSE) of Vehtari, Gelman, Simpson,
/// Carpenter and Bürkner, "Rank-normalization, folding, and localization: an improved R-hat for
/// assessing convergence of MCMC", Bayesian Analysis 16, 2021 (arXiv 1903.08008), as ArviZ 0.23.4
/// computes them; its method is named with each.
///
/// All are NaN where a draw is NaN or infinite (ArviZ ranks infinite ones), and where a chain has
/// fewer than four draws. Each chain is split into halves; of an odd number of draws the middle one
/// is left out there.
class Convergence {
 public:
  /// Sorts the draws, O(n). What `all` looks at must outlive this object. Throws Error(bug) as
  /// check_shape().
  explicit Convergence(const ChainDraws& all);

  /// Standard deviation with n − 1, and quantiles between two draws. NaN only where a draw isn't
  /// finite, and the deviation of a single draw.
  double mean() const;
  double sd() const;
  double quantile(double probability) const;

  /// Split R-hat of the normal scores, which sees differences of location: rhat(method="z_scale").
  /// NaN for one chain, or where all draws are equal; infinite where each half chain is constant
  /// and they differ.
  double rhat_bulk() const;
  /// The same of the folded draws |x − median|, which sees differences of scale: "folded".
  double rhat_folded() const;
  /// The larger one: "rank", ArviZ's default.
  double rhat() const;

  /// ESS of the normal scores: ess(method="bulk"). As many as there are draws, those that the
  /// halves leave out apart, where all are equal.
  double ess_bulk() const;
  /// The smaller ESS of the 5 % and 95 % quantiles: "tail".
  double ess_tail() const;
  /// ESS of the draws as they are: "mean".
  double ess_mean() const;
  /// ESS of whether a draw is at most the quantile: "quantile" with prob.
  double ess_quantile(double probability) const;

  /// In the units of the quantity: mcse(method="mean"), "sd", "quantile" with prob. That of the
  /// deviation is NaN where all draws are equal.
  double mcse_mean() const;
  double mcse_sd() const;
  double mcse_quantile(double probability) const {
    return mcse_quantile(probability, ess_quantile(probability));
  }
  /// The same from what ess_quantile() gave.
  double mcse_quantile(double probability, double effective) const;

 private:
  bool has_halves() const { return finite_ && all_.draws >= 4; }
  /// A view of an array in the order of halves_.
  ChainDraws view_halves(std::span<const double> values) const;
  double effective_size(std::span<const double> halves) const;

  ChainDraws all_;
  bool finite_;
  std::vector<double> halves_;     // [2·chains][draws/2], without middle draws
  Ascending order_;                // of halves_
  std::vector<double> scores_;     // of halves_
  std::vector<double> ascending_;  // all draws
  Autocovariance autocovariance_;  // of a half
};

}  // namespace stanley
