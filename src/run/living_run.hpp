#pragma once

#include <functional>
#include <optional>
#include <string>

#include "config/config.hpp"
#include "parallel/session.hpp"
#include "run/activity.hpp"
#include "run/directory.hpp"
#include "run/log.hpp"
#include "run/ticker.hpp"
#include "run/verdict.hpp"
#include "run/watchdog.hpp"
#include "storage/commit.hpp"

namespace stanley {

/// One start of a run, as its directory sees it: who owns that and lives, who watches that it goes
/// on, and how it ends where it fails. What computes stands elsewhere.
class LivingRun {
 public:
  /// Nothing is touched. What it refers to must outlive it.
  LivingRun(std::string path, const Config& config, Session& session, Log& log)
      : directory(std::move(path)),
        verdict(directory, session, log),
        config_(config),
        session_(session),
        log_(log) {}

  /// Collective. Takes the directory, from whatever run owns it where it is to; log and run.json
  /// begin, heartbeat and watchdog too. `before_rename`: called on rank 0 before a file gets its
  /// final name, once the directory is known to be this run's. Errors: as RunDirectory::take().
  void take(bool take_over, std::function<void()> before_rename = {});

  /// Takes away the owner file of a process that was killed at the very end of a finished run.
  void tidy_up(bool take_over);

  /// Has the verdict on an exception of this rank written; returns the error to be told at last.
  Error fail(const std::exception& exception) { return verdict.pass(exception, *watchdog_); }

  /// Of processor time that watching has taken on this rank.
  double seconds_watched() const { return watchdog_ ? watchdog_->seconds() : 0; }

  RunDirectory directory;
  Activity activity;
  Verdict verdict;
  FileOptions file_options;  ///< of take()

 private:
  bool leader() const { return session_.rank() == 0; }

  const Config& config_;
  Session& session_;
  Log& log_;
  std::optional<Watchdog> watchdog_;  // its thread uses what stands above
  std::optional<Ticker> heartbeat_;   // beside it: the heartbeat is a file's, and files may hang
};

}  // namespace stanley
