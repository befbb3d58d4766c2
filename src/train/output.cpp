#include "train/output.hpp"

#include <fmt/format.h>

#include <cmath>
#include <memory>

#include "config/error.hpp"
#include "run/commit_checkpoint.hpp"
#include "train/bank_draws.hpp"

namespace stanley {

Output::Output(const Config& config, const RunDirectory& directory, const FileOptions& options,
               Session& session, Log& log, Activity& activity)
    : config_(config),
      directory_(directory),
      options_(options),
      session_(session),
      log_(log),
      activity_(activity),
      writer_(session.world(), session.threads_may_communicate()) {
  if (session.threads_may_communicate()) return;
  log_.warn("MPI offers " + session.thread_level() +
            ": files are written between iterations, not beside them");
}

void Output::write(Trainer& trainer, const Dataset& dataset, const Request& request) {
  in_flight_ = request.kinds;
  owed_ = {};
  activity_.enter("copying for files");
  std::shared_ptr<const BankDraws> draws;
  if (request.kinds.draws) draws = std::make_shared<BankDraws>(trainer, dataset);
  if (draws && !draws->refused().empty()) log_.warn(draws->refused());
  CheckpointContents contents;
  if (request.kinds.checkpoint) {
    snapshot_.take(trainer.arrays());
    check_replicas(session_.world(), session_.hosts(), snapshot_.arrays());
    contents = {.iteration = trainer.iteration(),
                .arrays = snapshot_.arrays(),
                .progress = request.progress,
                .texts = request.texts,
                .best = request.best};
  }
  activity_.enter("handing files over");
  writer_.submit(
      [this, draws, contents = std::move(contents), request](Communicator& communicator) {
        in_collective(communicator, options_,
                      [&] { write_files(communicator, draws.get(), contents, request); });
      });
}

void Output::write_files(Communicator& communicator, const BankDraws* draws,
                         const CheckpointContents& contents, const Request& request) {
  if (draws != nullptr) {
    say("draws",
        write_draws(communicator, draws->path(directory_.samples()), draws->set(), options_));
  }
  if (!request.kinds.checkpoint) return;
  const CommitReport report = commit_checkpoint(communicator, directory_.checkpoints(), contents,
                                                options_, config_.checkpoint.keep_last,
                                                config_.checkpoint.keep_every, request.keep, log_);
  checkpoint_seconds_ = report.seconds;
  say("checkpoint", report);
  if (contents.iteration > 0) advise(report.seconds);
}

void Output::wait() {
  activity_.enter("waiting for files");
  writer_.wait();
  if (in_flight_.any()) failures_ = 0;
  in_flight_ = {};
}

void Output::settle() {
  try {
    wait();
  } catch (const Error& error) {
    const auto ours = [&] {
      return session_.world().min(session_.rank() == 0 && !directory_.owned() ? 0 : 1) > 0;
    };
    if (++failures_ > 1 || error.code != ExitCode::input_output || !ours()) throw;
    owed_ = in_flight_;
    in_flight_ = {};
    log_.warn(
        fmt::format("{}; files are written again, as the chains stand then, within {:.0f} s, "
                    "and a second failure ends the run",
                    error.what(), retry_seconds));
  }
}

void Output::say(const char* what, const CommitReport& report) {
  const double megabytes = static_cast<double>(report.bytes) / 1e6;
  log_.info(fmt::format("{} {}: {:.1f} MB in {:.2f} s (written at {:.0f} MB/s, then verified)",
                        what, report.path, megabytes, report.seconds,
                        megabytes / report.write_seconds));
}

/// Young (1974), Daly (2006): with cost C and mean time M between failures, an interval of √(2CM)
/// loses least.
void Output::advise(double seconds) {
  if (advised_) return;
  advised_ = true;
  const auto interval = [&](double days) {
    return duration_text(std::sqrt(2 * seconds * days * 86400));
  };
  log_.info(
      fmt::format("a checkpoint that costs {:.2f} s is best written every {} where a run "
                  "fails once a day, every {} where it fails once a week (Young-Daly)",
                  seconds, interval(1), interval(7)));
}

}  // namespace stanley
