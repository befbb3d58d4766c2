#pragma once

#include <cstdint>
#include <string>

#include "config/config.hpp"
#include "sampling/setup.hpp"

namespace stanley {

/// What a rank works on in an iteration, and how many of its threads have a part of it.
struct WorkingThreads {
  std::int64_t chains, states;  ///< that move; of the weight gradient
  int in_chains, in_weights;    ///< threads that have work
};

/// One line for the log where some threads of a rank that computes on its processor have no work,
/// and what to change; else nothing.
std::string idle_threads(const Config& config, const ComputeSetup& setup,
                         const WorkingThreads& working);

}  // namespace stanley
