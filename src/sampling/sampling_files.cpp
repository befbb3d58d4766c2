#include "sampling/sampling_files.hpp"

#include <fmt/format.h>

#include <utility>

#include "run/commit_checkpoint.hpp"

namespace stanley {

SamplingFiles::SamplingFiles(const Config& config, const RunDirectory& directory,
                             const FileOptions& options, decltype(DrawSet::attributes) attributes,
                             Session& session, Log& log)
    : config_(config),
      directory_(directory),
      options_(options),
      attributes_(std::move(attributes)),
      log_(log),
      writer_(session.world(), session.threads_may_communicate()) {}

void SamplingFiles::write(std::shared_ptr<const DrawBlock> block,
                          const std::vector<ArrayView>& arrays, CheckpointContents contents) {
  snapshot_.take(arrays);
  contents.arrays = snapshot_.arrays();
  writer_.submit(
      [this, block = std::move(block), contents = std::move(contents)](Communicator& communicator) {
        in_collective(communicator, options_,
                      [&] { write_files(communicator, block.get(), contents); });
      });
}

void SamplingFiles::write_files(Communicator& communicator, const DrawBlock* block,
                                const CheckpointContents& contents) {
  if (block != nullptr && block->count() > 0) {
    say("draws", block->write(communicator, draws_path(directory_.samples(), block->first()),
                              config_, attributes_, options_));
  }
  const CommitReport report =
      commit_checkpoint(communicator, directory_.checkpoints(), contents, options_,
                        config_.checkpoint.keep_last, std::nullopt, {}, log_);
  checkpoint_seconds_ = report.seconds;
  say("checkpoint", report);
}

void SamplingFiles::say(const char* what, const CommitReport& report) {
  log_.info(fmt::format("{} {}: {:.1f} MB in {:.2f} s", what, report.path,
                        static_cast<double>(report.bytes) / 1e6, report.seconds));
}

}  // namespace stanley
