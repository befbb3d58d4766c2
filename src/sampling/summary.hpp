#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "diagnostics/summary.hpp"
#include "parallel/communicator.hpp"
#include "sampling/kept_scalars.hpp"
#include "sampling/sampled_chains.hpp"

namespace stanley {

/// What is told of a run of chains at its end.
struct SamplingSummary {
  std::int64_t chains = 0, draws = 0;                            ///< in all; draws of each chain
  std::int64_t kept_chains = 0, kept_draws = 0, kept_every = 1;  ///< what the table is made of
  double seconds = 0;      ///< of moving, since the warm-up, all starts together
  double gradients = 0;    ///< of each chain since then; 0: none are taken
  double temperature = 0;  ///< T of the run
  ChainsTold told;
  std::vector<double> step_sizes;  ///< of each shard, or one
  std::int64_t unadjusted = 0;     ///< first steps of the warm-up without the correction
  std::int64_t chains_per_start = 1;
  std::vector<std::string> names;  ///< of the quantities
  std::vector<ConvergenceSummary> quantities;
  std::vector<std::string> not_mixed;  ///< a sentence for each quantity where chains have not
};

/// Collective. Rank 0's has the quantities.
SamplingSummary sum_up(const Config& config, SampledChains& chains, const KeptScalars& kept,
                       std::int64_t total, std::int64_t draws, double seconds,
                       Communicator& communicator);

/// As a person reads it: a table and some lines.
std::vector<std::string> lines_of(const SamplingSummary& summary);

/// The text of summary.json.
std::string json_of(const SamplingSummary& summary);

}  // namespace stanley
