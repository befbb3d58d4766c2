#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "config/config.hpp"
#include "parallel/session.hpp"
#include "run/directory.hpp"
#include "run/log.hpp"
#include "run/writer.hpp"
#include "sampling/draw_block.hpp"
#include "storage/checkpoint.hpp"

namespace stanley {

/// The files that a run of chains writes beside its rounds: blocks of draws, each followed by a
/// checkpoint, by the writer thread from copies of the chains, so that those move on.
class SamplingFiles {
 public:
  /// Collective. What it refers to must outlive it. `attributes`: what draw files say of the
  /// energy.
  SamplingFiles(const Config& config, const RunDirectory& directory, const FileOptions& options,
                decltype(DrawSet::attributes) attributes, Session& session, Log& log);

  /// Collective. Hands over a checkpoint, whose `arrays` are copied, and before it a block, where
  /// there is one; after wait().
  void write(std::shared_ptr<const DrawBlock> block, const std::vector<ArrayView>& arrays,
             CheckpointContents contents);
  /// Collective. Waits for the files in flight. Errors: why they failed.
  void wait() { writer_.wait(); }
  /// Whether files in flight have failed, on this rank.
  bool failed() const { return writer_.failed(); }
  /// What the newest checkpoint took, s; 0 before the first.
  double checkpoint_seconds() const { return checkpoint_seconds_; }

 private:
  void write_files(Communicator& communicator, const DrawBlock* block,
                   const CheckpointContents& contents);
  void say(const char* what, const CommitReport& report);

  const Config& config_;
  const RunDirectory& directory_;
  const FileOptions& options_;
  decltype(DrawSet::attributes) attributes_;
  Log& log_;
  Snapshot snapshot_;
  std::atomic<double> checkpoint_seconds_{0};
  Writer writer_;  // last: its thread uses what stands above
};

}  // namespace stanley
