#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "run/metrics.hpp"

namespace stanley {

/// What the chains' states and moves are compared with.
struct ChainScale {
  double spread = 0;           ///< of the data over samples, root mean square over elements
  double saturation = 0;       ///< share of the data's elements on the box's faces
  std::int64_t dimension = 1;  ///< elements of a state
  std::int64_t active_chains = 2;
};

/// A sentence for each reason why the chains of this iteration can't sample anything, with the key
/// to change: they don't move, their drift drowns in the noise, or the noise throws them at the
/// box. Empty for chains that work: each limit is orders of magnitude away from those.
std::vector<std::string> motion_complaints(const IterationRecord& record,
                                           const SamplerConfig& sampler, const ChainScale& scale);

}  // namespace stanley
