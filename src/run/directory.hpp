#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace stanley {

/// Who asks for a run directory, and how.
struct Claim {
  std::string job;                 ///< Slurm's job identifier; empty outside of Slurm
  std::string cluster;             ///< Slurm's name of the cluster
  std::int64_t restart_count = 0;  ///< how often Slurm has requeued the job
  bool take_over = false;          ///< from whatever owner
  /// An owner on another host is dead if its heartbeat is older than this: many beats, so that
  /// neither a slow file server nor the work of a long system call looks like death.
  std::chrono::seconds stale_after{120};
};

/// The claim of this process's job, as Slurm's environment tells it.
Claim claim_of_job();

/// The directory of a run and its owner file: a run directory belongs to one living run.
class RunDirectory {
 public:
  /// Names only: nothing is touched.
  explicit RunDirectory(std::string path) : path_(std::move(path)) {}
  /// Gives the directory back, if this object owns it.
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  /// Rank 0 alone. Makes the directories that are missing and the owner file; of any number of
  /// claimants, one gets it. From an owner that is dead (run/owner.hpp) it is taken, from a living
  /// one only if the claim says so. Errors: input_output where the directory can't be written, or
  /// another living run owns it.
  void take(const Claim& claim);

  /// Rank 0 alone, from any thread once take() has returned. A sign of life for runs on other
  /// hosts, due every few seconds. Does nothing if the directory is another's by now, and nothing
  /// about a file system that fails: that is for the run's files to find.
  void beat() const;

  /// Rank 0 alone, as the next from any thread once take() has returned. Whether the directory is
  /// (still) this object's.
  bool owned() const;
  /// Whether a run lives in it, as far as this host can see.
  bool occupied() const;
  /// Rank 0 alone. Throws Error(input_output) if another run has taken the directory since.
  void check_ownership() const;

  /// No other start of a run has the same; empty before take().
  const std::string& token() const { return token_; }

  const std::string& path() const { return path_; }
  std::string owner() const { return path_ + "/owner.json"; }
  std::string config() const { return path_ + "/config.yaml"; }
  std::string record() const { return path_ + "/run.json"; }
  std::string metrics() const { return path_ + "/metrics.csv"; }
  std::string log() const { return path_ + "/log.txt"; }
  std::string samples() const { return path_ + "/samples"; }
  std::string checkpoints() const { return path_ + "/checkpoints"; }
  std::string rejected(std::int64_t attempt) const {
    return path_ + "/rejected/" + std::to_string(attempt);
  }
  std::string done() const { return path_ + "/DONE"; }

 private:
  std::string path_;
  std::string token_;  // empty: not the owner; the same from take() on
};

/// Replaces a file in one step: written beside it, brought to the disk, renamed, the name brought
/// to the disk too. Errors: input_output.
void replace_file(const std::string& path, const std::string& text);

/// The same for a file that several processes may replace at once: each writes an unfinished file
/// of its own, and what killed ones of this host left goes.
void replace_shared_file(const std::string& path, const std::string& text);

/// The whole text of a file; empty if there is none, or what is there is no regular file.
std::string read_text(const std::string& path);

}  // namespace stanley
