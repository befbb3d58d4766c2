#pragma once

#include <atomic>
#include <cstdint>
#include <set>
#include <string>

#include "config/config.hpp"
#include "data/dataset.hpp"
#include "parallel/session.hpp"
#include "run/activity.hpp"
#include "run/directory.hpp"
#include "run/log.hpp"
#include "run/writer.hpp"
#include "storage/checkpoint.hpp"
#include "train/trainer.hpp"

namespace stanley {

class BankDraws;

/// Files that failed are tried again after so many seconds, or when the next ones are due.
constexpr double retry_seconds = 30;

/// The files that a training writes beside its iterations: checkpoints and draws, by the writer
/// thread from copies of the chains, so that those move on.
class Output {
 public:
  /// Collective. What it refers to must outlive it.
  Output(const Config& config, const RunDirectory& directory, const FileOptions& options,
         Session& session, Log& log, Activity& activity);

  struct Kinds {
    bool draws{false}, checkpoint{false};
    bool any() const { return draws || checkpoint; }
  };
  struct Request {
    Kinds kinds{};
    /// Attributes of the checkpoint.
    Progress progress{};
    std::map<std::string, std::string> texts{};
    /// Iterations whose checkpoints retention must leave alone.
    std::set<std::int64_t> keep{};
    bool best{false};  ///< the checkpoint's: no evaluation was better
  };

  /// Collective. Waits for the files in flight. Where they failed the run goes on once, since a
  /// file system may be gone for a while, and owes them. Errors: a second failure in a row, or one
  /// that waiting doesn't mend, the same on all ranks; what goes wrong on one rank alone ends them
  /// all.
  void settle();
  /// What must be written again.
  const Kinds& owed() const { return owed_; }
  /// Owes nothing any more: the states are no more.
  void forget() { owed_ = {}; }

  /// Collective, after settle(). Copies the states and has the copies written. Errors: environment
  /// where ranks don't hold the same parameters.
  void write(Trainer& trainer, const Dataset& dataset, const Request& request);
  /// Collective. Waits for the files in flight. Errors: as settle(), at the first failure.
  void wait();
  /// Whether files in flight have failed, on this rank.
  bool failed() const { return writer_.failed(); }

  /// What the newest checkpoint took, s; 0 before the first.
  double checkpoint_seconds() const { return checkpoint_seconds_; }

 private:
  void write_files(Communicator& communicator, const BankDraws* draws,
                   const CheckpointContents& contents, const Request& request);
  void say(const char* what, const CommitReport& report);
  void advise(double seconds);

  Config config_;
  const RunDirectory& directory_;
  FileOptions options_;
  Session& session_;
  Log& log_;
  Activity& activity_;
  Snapshot snapshot_;
  std::atomic<double> checkpoint_seconds_{0};
  bool advised_ = false;
  Kinds owed_{}, in_flight_{};
  int failures_ = 0;  // in a row
  Writer writer_;     // last: its thread uses what stands above
};

}  // namespace stanley
