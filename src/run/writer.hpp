#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <memory>

#include "parallel/communicator.hpp"

namespace stanley {

/// Writes files while the chains move on: one job at a time on each rank, in a thread beside the
/// others, with a communicator of its own. At its end it waits for the job in flight; what that
/// threw is lost. While it lives, only jobs call the file library, which is not thread-safe.
class Writer {
 public:
  /// Collective on the writer's communicator; what it reads must stay still until it is done.
  using Job = std::function<void(Communicator&)>;

  /// Collective. Where a second thread may not communicate (`beside` false), jobs run in submit().
  Writer(const Communicator& communicator, bool beside);

  /// Collective. Waits for the job before and hands over the next one. Errors: what the job before
  /// threw.
  void submit(Job job);
  /// Collective. Waits for the job in flight. Errors: what it threw.
  void wait();
  /// Whether the job in flight has ended badly: wait() will throw.
  bool failed() const { return failed_; }

 private:
  bool beside_;
  std::unique_ptr<Communicator> communicator_;
  std::atomic<bool> failed_{false};
  std::future<void> in_flight_;  // last: its end waits for the job, which uses what stands above
};

}  // namespace stanley
