#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "energy/network.hpp"
#include "measure/scaling_model.hpp"
#include "parallel/session.hpp"

namespace stanley {

/// One line of a chain step's time on one thread or on a GPU.
struct OperationShare {
  std::string name;
  double milliseconds = 0;
  double gflops = 0;  ///< of the arithmetic done; 0: not counted
};

/// What was measured, over all ranks where not said otherwise. An iteration's parts are timed one
/// after the other on random states, without files or data.
struct BenchmarkResult {
  int ranks = 1;
  int threads = 1;
  std::string device, precision, engine, reducer;
  double chain_steps_per_second = 0;  ///< chain steps alone
  double chain_steps_per_second_per_rank = 0;
  double milliseconds_per_step = 0;  ///< one step of one rank's active chains
  std::optional<double> gflops;      ///< arithmetic of the gradient, per rank; none: not known
  double iteration_seconds = 0;
  double update_share = 0;  ///< of a chain step: gain, noise, update
  double chains_share = 0, gradient_share = 0, reduction_share = 0;  ///< of an iteration
  double reduction_seconds = 0, reduction_bytes = 0;                 ///< of the weight gradient
  std::vector<OperationShare> operations;  ///< one step of the rank's chains; empty: not known
  double operations_milliseconds = 0;      ///< the whole step
  /// Of one thread in float32, or of a GPU in the chains' precision, by a large matrix product.
  double peak_gflops = 0;
  double copy_gbytes = 0;             ///< a second that these read and write, copying 128 MB
  std::optional<double> peak_memory;  ///< of a GPU, in bytes, as LibTorch counts it
};

/// Collective. Measures for about `seconds`. The median over repeats is reported.
BenchmarkResult run_benchmark(const Config& config, const StateShape& shape, double seconds,
                              Session& session);

/// Collective. Times one rank's part of an iteration from the fewest chains that a rank may have
/// to all active ones, for about `seconds` in all.
std::vector<WorkPoint> measure_work(const Config& config, const StateShape& shape, double seconds,
                                    Session& session);

/// The most shards that the configuration's chains and data can be dealt to.
std::int64_t finest_shards(const Config& config);

}  // namespace stanley
