#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "config/config.hpp"
#include "parallel/communicator.hpp"
#include "run/metrics.hpp"
#include "sampler/transition.hpp"
#include "train/objective.hpp"

namespace stanley {

/// What one rank saw in one iteration.
struct LocalSummary {
  ChainRecord chains;
  EnergySums energies;
  double noise_energy = 0;         ///< Σ E of the noise probes
  std::int64_t noise_probes = 0;   ///< of all ranks
  at::Tensor before, after;        ///< states of the active chains, [n, state shape]
  std::vector<std::int64_t> ages;  ///< of the active chains
  std::int64_t restarts = 0;
  double seconds = 0;  ///< that this rank took until the reduction
};

/// Collective. Adds the ranks' summaries up and fills the columns of `record` that describe
/// energies and chains, and how long this rank waited for the slowest.
void summarize(const Config& config, const LocalSummary& local, Communicator& communicator,
               IterationRecord& record);

/// Mean, variance and lag-1 covariance of the gap, exponentially weighted over about 50 iterations.
struct GapStatistics {
  double count = 0, last = 0, mean = 0, variance = 0, covariance = 0;

  /// Takes the next gap and returns the lag-1 autocorrelation; NaN before the third.
  double add(double gap);
};

}  // namespace stanley
