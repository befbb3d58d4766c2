#pragma once

#include <cstdint>
#include <string>

namespace stanley {

/// The directory of a run and its owner file: a run directory belongs to one living run.
class RunDirectory {
 public:
  /// Names only: nothing is touched.
  explicit RunDirectory(std::string path) : path_(std::move(path)) {}
  /// Gives the directory back, if this object owns it.
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  /// Rank 0 alone. Makes the directories that are missing and the owner file, exclusively. The
  /// owner of an existing one is dead if its process is gone (same host), or if it had the same job
  /// identifier as this one (a requeued job). Errors: input_output where the directory can't be
  /// written, or another living run owns it.
  void take(const std::string& job);

  /// Rank 0 alone. Whether the directory is (still) this object's.
  bool owned() const;
  void beat() {}
  /// Rank 0 alone. Throws Error(input_output) if another run has taken the directory since.
  void check_ownership() const;

  const std::string& path() const { return path_; }
  std::string config() const { return path_ + "/config.yaml"; }
  std::string record() const { return path_ + "/run.json"; }
  std::string metrics() const { return path_ + "/metrics.csv"; }
  std::string log() const { return path_ + "/log.txt"; }
  std::string samples() const { return path_ + "/samples"; }
  std::string checkpoints() const { return path_ + "/checkpoints"; }
  std::string rejected(std::int64_t attempt) const {
    return path_ + "/rejected/" + std::to_string(attempt);
  }
  std::string report() const { return path_ + "/report.html"; }
  std::string done() const { return path_ + "/DONE"; }

 private:
  std::string owner_path() const { return path_ + "/owner.json"; }

  std::string path_;
  std::string token_;  // empty: not the owner
};

/// Replaces a small file in one step: written beside it, brought to the disk, renamed.
/// Errors: input_output.
void replace_file(const std::string& path, const std::string& text);

/// The whole text of a file; empty if there is none.
std::string read_text(const std::string& path);

}  // namespace stanley
