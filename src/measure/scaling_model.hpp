#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "parallel/network_model.hpp"

namespace stanley {

/// Seconds of one rank's part of an iteration, measured.
struct WorkPoint {
  std::int64_t chains = 1;    ///< active chains of the rank
  double chain_seconds = 0;   ///< all K steps
  double weight_seconds = 0;  ///< weight gradient of the chains and as many data as go with them,
                              ///< and the weight update
};

/// What was measured on this machine, and what the configuration says: all that the iteration's
/// time on another number of ranks is predicted from.
struct ScalingInputs {
  std::vector<WorkPoint> work;        ///< by number of chains, ascending; not empty
  std::int64_t active_chains = 1;     ///< B
  std::int64_t finest_shards = 1;     ///< the most ranks that C, B and the batch can be dealt to
  std::int64_t chains_per_rank = 1;   ///< active chains of a rank in weak scaling
  double message_bytes = 0;           ///< the weight gradient
  bool ordered = false;               ///< summed in shard order (run.reproducible)
  std::int64_t parts_per_rank = 1;    ///< shards of a rank in weak scaling
  std::int64_t dimension = 1;         ///< elements of a state
  double jitter = 0;                  ///< standard deviation of a rank's work, as a share of it
  double checkpoint_fixed_bytes = 0;  ///< weights and the optimiser's state
  double checkpoint_bytes_per_chain = 0;  ///< per active chain: its share of the bank
  double copy_seconds_per_byte = 0;       ///< of the snapshot that a checkpoint is written from
  double checkpoint_every = 0;            ///< iterations; 0: never
  NetworkModel network;
  double checkpoint_seconds = 0;  ///< as measured: no prediction is below it
  double file_bandwidth = 1;      ///< bytes/s of the file system, from all ranks together
};

/// The time of one iteration on `ranks` ranks, by what it is spent on, s.
struct IterationPrediction {
  std::int64_t ranks = 1;
  std::int64_t chains = 1;  ///< active chains of a rank
  double chain_seconds = 0, weight_seconds = 0;
  double latency_seconds = 0, bandwidth_seconds = 0;  ///< the reduction and the small sums
  double waiting_seconds = 0;  ///< for the slowest of the ranks: the largest of normal numbers
  double file_seconds = 0;     ///< copies, and waiting for the checkpoint before
  double efficiency = 1;       ///< against one rank

  double seconds() const {
    return chain_seconds + weight_seconds + latency_seconds + bandwidth_seconds + waiting_seconds +
           file_seconds;
  }
  /// The largest term: "chains", "weight gradient", "network latency", ....
  std::string bound() const;
};

/// Chains and data per rank stay. Efficiency: one rank's time over this.
IterationPrediction predict_weak(const ScalingInputs& inputs, std::int64_t ranks);

/// Chains and data of all ranks stay, dealt evenly; `ranks` at most finest_shards. Efficiency: one
/// rank's time over `ranks` times this.
IterationPrediction predict_strong(const ScalingInputs& inputs, std::int64_t ranks);

/// Of the weight gradient over `ranks` ranks that hold so many parts of it in all.
CollectiveCost reduction_cost(const ScalingInputs& inputs, std::int64_t ranks, std::int64_t parts);

/// Where strong scaling ends.
struct StrongLimit {
  std::int64_t fastest = 1;    ///< ranks with the shortest iteration
  std::int64_t efficient = 1;  ///< the most ranks with an efficiency of at least one half
};
StrongLimit find_strong_limit(const ScalingInputs& inputs);

}  // namespace stanley
