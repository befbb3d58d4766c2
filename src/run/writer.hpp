#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "parallel/communicator.hpp"

namespace stanley {

/// Writes files while the chains move on: one thread on each rank, with a communicator of its own,
/// one job at a time. While it lives, only jobs call the file library, which is not thread-safe.
class Writer {
 public:
  /// Collective on the writer's communicator; what it reads must stay still until it is done.
  using Job = std::function<void(Communicator&)>;

  /// Collective. Where a second thread may not communicate (`beside` false), jobs run in submit().
  Writer(const Communicator& communicator, bool beside);
  /// Waits for the job in flight; what it threw is lost.
  ~Writer();

  /// Collective. Waits for the job before and hands over the next one. Errors: what the job before
  /// threw.
  void submit(Job job);
  /// Collective. Waits for the job in flight. Errors: what it threw.
  void wait();
  /// Whether the job in flight has ended badly: wait() will throw.
  bool failed() const { return failed_; }

 private:
  void work();

  bool beside_;
  std::unique_ptr<Communicator> communicator_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Job job_;  // empty: idle
  std::exception_ptr failure_;
  std::atomic<bool> failed_{false};
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace stanley
