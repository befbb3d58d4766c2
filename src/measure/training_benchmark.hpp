#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "config/config.hpp"
#include "data/dataset.hpp"
#include "parallel/session.hpp"

namespace stanley {

/// Whole iterations of a training, as they run, and one checkpoint. Seconds are means of an
/// iteration; the parts are means over the ranks.
struct TrainingMeasure {
  std::int64_t warmup = 0, iterations = 0;
  double seconds = 0;
  double chains = 0, gradient = 0, reduction = 0, waiting = 0;
  double files = 0;   ///< the checkpoint's copy, and waiting for the one before, by its share
  double jitter = 0;  ///< standard deviation of a rank's work, as a share of it
  double chain_steps_per_second = 0;
  double memory = 0;             ///< bytes of the rank that has most
  std::optional<double> joules;  ///< of an iteration, of all nodes' processors
  double checkpoint_bytes = 0, checkpoint_fixed_bytes = 0;
  double checkpoint_seconds = 0;  ///< to write and verify it, beside the chains
  double copy_seconds = 0;        ///< the chains stand still for it
  double checkpoint_every = 0;    ///< iterations; 0: never
};

/// Collective. `directory` is where the checkpoint is written, in a folder that is removed again;
/// empty: none is. Errors: as those of a training.
TrainingMeasure measure_training(const Config& config, const Dataset& dataset, std::int64_t warmup,
                                 std::int64_t iterations, const std::string& directory,
                                 Session& session);

}  // namespace stanley
