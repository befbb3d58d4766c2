#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "parallel/bulletin.hpp"
#include "parallel/communicator.hpp"
#include "run/activity.hpp"
#include "run/ticker.hpp"

namespace stanley {

/// Ends a run that hangs (design, "Fail"). On every rank a thread looks at the rank's Activity once
/// a second and tells rank 0, which ends all ranks with ExitCode::communication when none of them
/// has made any progress for `limit` ticks: ranks wait for each other many times a second, so that
/// one which hangs soon keeps all, while one that reads a large file for the others is at work.
/// Ticks, not clock time: a suspended machine is no hang.
class Watchdog {
 public:
  struct Options {
    std::int64_t limit{300};               ///< ticks
    std::chrono::milliseconds tick{1000};  ///< shorter in tests
    std::vector<std::string> hosts{};      ///< of the ranks
    /// Before the end, on the rank that ends all: writes down who hangs and where, or what another
    /// rank has reported. The end waits for it, but not for ever: a file may be what hangs.
    std::function<void(const Error&)> write_verdict{};
    /// After that: tells it in the log, for which the end waits a few seconds.
    std::function<void(const Error&)> write_log{};
  };

  /// Collective. `communicator` and `activity` must outlive it. Where a second thread may not
  /// communicate (`shared` false), each rank watches itself alone.
  Watchdog(const Communicator& communicator, const Activity& activity, bool shared,
           Options options);
  /// Collective, unless an exception passes.
  ~Watchdog();

  /// On a rank other than 0 that has failed alone, before it leaves: has rank 0 tell it and end all
  /// ranks, and waits for that end. Returns where rank 0 can't, after some ticks.
  void report(const Error& error);

  /// Of processor time that watching has taken on this rank.
  double seconds() const { return seconds_; }

 private:
  struct Seen {
    std::int64_t tick{-1}, progress{-1};
    std::int64_t silent{0}, idle{0};  ///< ticks since the last note, since the last progress
  };

  void look();
  void update(Seen& seen, const Note& note) const;
  bool hangs();
  std::string describe() const;
  /// Calls `step` in a thread of its own, and waits until it has ended, or for so long.
  void call(const std::function<void(const Error&)>& step, const Error& error,
            std::chrono::seconds patience);
  [[noreturn]] void end(const Error& error);

  const Communicator& communicator_;
  const Activity& activity_;
  Options options_;
  std::unique_ptr<Bulletin> bulletin_;
  std::vector<Seen> seen_;  // of all ranks on rank 0, elsewhere of this one
  std::vector<Note> notes_;
  std::int64_t ticks_ = 0;
  std::int64_t told_ = -1, untold_ = 0;  // rank 0's last number, and ticks since it last changed
  std::int64_t ending_ = 0;              // what rank 0 tells while it writes why it ends all
  std::mutex mutex_;
  std::optional<Error> own_failure_;
  int exceptions_at_start_;
  std::atomic<double> seconds_ = 0;
  std::optional<Ticker> ticker_;  // last: it uses what stands above
};

}  // namespace stanley
