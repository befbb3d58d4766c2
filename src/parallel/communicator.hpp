#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "config/error.hpp"

namespace stanley {

/// How a communicator waits for ranks that are late: a training loop spins (least latency); a
/// helper thread polls with sleeps, so that it leaves its core to the one who computes.
enum class Waiting { spin, sleep };

/// The ranks of a run. The local communicator is one rank and never calls MPI; the other one wraps
/// an MPI communicator. Every failed MPI call throws Error(ExitCode::communication). Counts above
/// 2^31 are sent in pieces, unless a function says otherwise. One thread at a time may use one
/// communicator; another thread takes a duplicate.
class Communicator {
 public:
  Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Collective.
  virtual void barrier() = 0;

  /// Collective. All ranks give spans of the same size; root's bytes end in all of them.
  virtual void broadcast(std::span<std::byte> bytes, int root) = 0;
  /// Collective. Returns root's text, of any length; the other ranks' text is ignored.
  std::string broadcast(std::string text, int root);

  /// Collective. Element-wise sum over the ranks, in place. All ranks get the same bits, but the
  /// order of the additions is MPI's: where it must not depend on the ranks, use a Reducer.
  virtual void sum(std::span<double> values) = 0;
  /// Collective. As above.
  virtual void sum(std::span<float> values) = 0;
  /// Collective. As above (and exact).
  virtual void sum(std::span<std::int64_t> values) = 0;

  /// Collective. The largest of the ranks' numbers, element by element, in place (NaN is not
  /// ordered: don't).
  virtual void max(std::span<double> values) = 0;
  /// Collective. As above.
  double max(double value);
  /// Collective. The smallest of the ranks' numbers (NaN is not ordered: don't).
  double min(double value) { return -max(-value); }

  /// Collective. One text from each rank, in rank order; together they stay below 2^31 bytes.
  virtual std::vector<std::string> all_gather(const std::string& text) = 0;

  /// Collective. Rank r gives counts[r] floats, which end in `all`, in rank order. `counts` (one
  /// per rank, the same on all) sum to all.size(), which must stay below 2^31.
  virtual void all_gather(std::span<const float> mine, std::span<float> all,
                          std::span<const int> counts) = 0;

  /// In which order ranks send when each has something for each other one: to all at once, which
  /// takes one latency, or to one after the other, so that no two long messages meet at a receiver.
  enum class Exchange { at_once, pairwise };

  /// Collective. Sends send_counts[r] floats to each rank r and receives receive_counts[r] from it,
  /// both stored in rank order without holes; each sum must stay below 2^31. `exchange` is the same
  /// on all ranks.
  virtual void all_to_all(std::span<const float> send, std::span<const int> send_counts,
                          std::span<float> receive, std::span<const int> receive_counts,
                          Exchange exchange) = 0;

  /// Collective. The same ranks with a message space of their own, for another thread.
  virtual std::unique_ptr<Communicator> duplicate(Waiting waiting) const = 0;
  /// Collective. The same with Waiting::spin.
  std::unique_ptr<Communicator> duplicate() const { return duplicate(Waiting::spin); }

  /// Ends all ranks at once with this exit code; any thread of any rank may call it. Nothing is
  /// unwound: flush logs and write the verdict before.
  [[noreturn]] void abort(ExitCode code) const;

 private:
  virtual void abort_all(ExitCode code) const = 0;
};

/// A communicator of one rank that makes no MPI call.
std::unique_ptr<Communicator> make_local_communicator();

/// Waits until all that was written to the pipe `descriptor` has been read, for `limit` at most.
/// Returns at once where it is no pipe.
void wait_until_read(int descriptor, std::chrono::milliseconds limit);

}  // namespace stanley
