#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>

#include "parallel/communicator.hpp"

namespace stanley {

/// Sums gradients over the local shards and the ranks. Keeps its buffers between calls.
class Reducer {
 public:
  Reducer() = default;
  Reducer(const Reducer&) = delete;
  Reducer& operator=(const Reducer&) = delete;
  virtual ~Reducer() = default;

  /// Collective. `parts` holds k vectors of total.size() floats, one after the other: one for each
  /// shard of this rank in shard order, or their sum. `total` becomes the sum of all parts of all
  /// ranks, the same bits on all of them; with one part it may be that part. total.size() is the
  /// same on all ranks, k need not be. The result is there when the call returns.
  /// Device reducers take device pointers, and start after all work that was queued on the default
  /// stream of the device.
  virtual void reduce(std::span<const float> parts, std::span<float> total) = 0;

  /// What it is, for the log and run.json: "MPI, ordered by shard".
  virtual std::string description() const = 0;
};

/// How the parts travel: host memory through MPI; device memory through NCCL; or device memory
/// copied to the host and through MPI, for ranks that share a GPU (NCCL can't).
enum class Transport { mpi, nccl, mpi_from_device };

/// plain: local parts are summed in order, then all-reduced; the ranks' order is the library's.
/// by_shard: ((part 0 + part 1) + part 2) + ... over all ranks' parts in rank order, so the result
/// doesn't depend, bit for bit, on how many ranks hold the shards; no rank ever holds all parts.
enum class Summation { plain, by_shard };

/// Collective. `communicator` must outlive the reducer. NCCL gives up with
/// Error(ExitCode::communication) after `deadline` without an answer; MPI has no deadline (the
/// watchdog covers it). A device transport in a binary without CUDA is
/// Error(ExitCode::environment).
std::unique_ptr<Reducer> make_reducer(Communicator& communicator, Transport transport,
                                      Summation summation,
                                      std::chrono::seconds deadline = std::chrono::seconds(300));

/// Collective. The same for the transports of device memory.
std::unique_ptr<Reducer> make_device_reducer(Communicator& communicator, Transport transport,
                                             Summation summation, std::chrono::seconds deadline);

}  // namespace stanley
