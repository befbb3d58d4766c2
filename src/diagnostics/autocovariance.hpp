#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "diagnostics/draws.hpp"
#include "diagnostics/fourier.hpp"

namespace stanley {

/// Autocovariances of chains of one length, by Fourier transforms over 2·draws or more points, the
/// chains followed by zeros: no lag wraps around.
class Autocovariance {
 public:
  explicit Autocovariance(std::int64_t draws);

  /// [draws]: at lag k the mean over the chains of Σₜ (xₜ₊ₖ − x̄)(xₜ − x̄) / draws, where x̄ is the
  /// chain's own mean in `means`. All numbers are finite.
  std::vector<double> mean(const ChainDraws& all, std::span<const double> means) const;

 private:
  Fourier fourier_;
};

/// [draws]: the same of all draws: of one chain it is ArviZ's `autocov`, of several the mean of
/// those. NaN where a draw is not finite. Throws Error(bug) as check_shape().
std::vector<double> autocovariance(const ChainDraws& all);

/// [draws]: autocovariance() divided by that of lag 0, hence 1 at lag 0; of one chain it is ArviZ's
/// `autocorr`. A short chain's own mean follows the chain: for N draws with autocorrelation time τ
/// the numbers are too small by about τ/N. NaN where a draw is not finite or each chain is
/// constant.
std::vector<double> autocorrelation(const ChainDraws& all);

}  // namespace stanley
