#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "parallel/session.hpp"
#include "run/directory.hpp"
#include "run/log.hpp"
#include "run/record.hpp"
#include "run/watchdog.hpp"

namespace stanley {

/// How a start of a run ends, written to run.json: by rank 0, from any thread, since a hang or a
/// failed write ends a run from beside its loop.
class Verdict {
 public:
  /// What it refers to must outlive it.
  Verdict(const RunDirectory& directory, Session& session, Log& log)
      : directory_(directory), session_(session), log_(log) {}

  /// Rank 0, once it owns the directory: opens run.json. Errors: input_output.
  void open();
  /// Rank 0, once it is open.
  RunRecord& record() { return *record_; }

  /// How far the run has come: the iteration of the verdict on a failure.
  void reached(std::int64_t iteration) { reached_ = iteration; }

  /// Writes the verdict on a failure, unless the directory is another run's by now or its disk is
  /// what failed. The first verdict counts.
  void fail(const Error& error);
  /// As fail(), on the rank that is about to end all ranks, which says it on standard error too.
  void abort(const Error& error);
  /// Has the verdict on an exception of this rank written, by rank 0 through `watchdog` where the
  /// ranks did not agree on it; returns the error to be told at last.
  Error pass(const std::exception& exception, Watchdog& watchdog);

 private:
  const RunDirectory& directory_;
  Session& session_;
  Log& log_;
  std::optional<RunRecord> record_;  // rank 0
  std::atomic<std::int64_t> reached_{0};
};

}  // namespace stanley
