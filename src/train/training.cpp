#include "train/training.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <optional>

#include "config/error.hpp"
#include "config/time_limit.hpp"
#include "data/dataset.hpp"
#include "parallel/agree.hpp"
#include "parallel/topology.hpp"
#include "run/directory.hpp"
#include "run/metrics.hpp"
#include "run/record.hpp"
#include "run/stop.hpp"
#include "run/version.hpp"
#include "storage/checkpoint.hpp"
#include "train/draws.hpp"
#include "train/resume.hpp"
#include "train/setup.hpp"
#include "train/trainer.hpp"

namespace stanley {
namespace {

using Clock = std::chrono::system_clock;

std::string job_id() {
  const char* const job = std::getenv("SLURM_JOB_ID");
  return job != nullptr ? job : "";
}

bool due(const std::optional<std::int64_t>& every, std::int64_t iteration) {
  return every && iteration % *every == 0;
}

/// One start of a run, from the files to the verdict. Rank 0 keeps the run's own files.
class Training {
 public:
  Training(const TrainingRequest& request, Session& session, Log& log)
      : config_(request.config),
        resume_(request.resume),
        take_over_(request.take_over),
        session_(session),
        world_(session.world()),
        log_(log),
        directory_(request.directory),
        progress_line_(config_.run.iterations) {}

  ExitCode run() {
    require_shards(config_, session_);
    if (already_finished()) return ExitCode::finished;
    agree(world_, [&] {
      if (!leader()) return;
      Claim claim = claim_of_job();
      claim.take_over = take_over_;
      directory_.take(claim);
      log_.add_file(directory_.log());
      record_.emplace(directory_.record());
    });
    file_options_ = {.job = job_id().empty() ? "local" : job_id(),
                     .hints = config_.checkpoint.hints,
                     .before_rename = [this] { before_rename(); },
                     .on_abort = [this](const Error& error) { note_abort(error); }};
    try {
      start();
      return iterate_until_stopped();
    } catch (const Error& error) {
      note_failure(error);
      throw;
    }
  }

 private:
  bool leader() const { return session_.rank() == 0; }
  std::int64_t iteration() const { return trainer_ ? trainer_->iteration() : 0; }

  /// Whether this very training ended before.
  bool already_finished() {
    std::int64_t newest = -1;
    agree(world_, [&] {
      if (!leader() || !std::filesystem::exists(directory_.done())) return;
      const auto iterations = list_checkpoints(directory_.checkpoints());
      newest = iterations.empty() ? -1 : iterations.front();
    });
    newest = static_cast<std::int64_t>(world_.max(static_cast<double>(newest)));
    if (resume_ != "auto" || newest < config_.run.iterations) return false;
    log_.info(fmt::format("{} is finished: {} of {} iterations; raise run.iterations to go on",
                          directory_.path(), newest, config_.run.iterations));
    return true;
  }

  void start() {
    log_.info(fmt::format("stanley {} ({}), run directory {}", build_version, build_commit,
                          directory_.path()));
    agree(world_, [&] {
      if (!leader()) return;
      remove_unfinished(directory_.checkpoints());
      remove_unfinished(directory_.samples());
    });
    const auto header = find_start(world_, resume_, directory_.checkpoints(), file_options_, log_);
    if (header) adopt(*header);
    setup_.emplace(set_up(config_, session_));
    dataset_ = Dataset::load(config_.data, config_.run.seed, world_);
    reducer_ = reducer_for(config_, *setup_, session_);
    trainer_ = std::make_unique<Trainer>(
        config_, dataset_,
        TrainerContext{world_, *reducer_, setup_->torch_device, setup_->precision});
    if (header) {
      const auto sharding = branches() ? Sharding::any : Sharding::same;
      const std::vector<ArrayView> arrays = trainer_->arrays();
      check_arrays(*header, arrays, sharding);
      read_checkpoint(world_, *header, arrays, sharding, file_options_);
      trainer_->restore(header->progress);
    }
    open_run_files(header ? header->path : "");
    if (!header) {
      write_checkpoint_now();
      write_draws_now();
    }
    began_ = last_checkpoint_ = Clock::now();
  }

  /// A file named by --resume from outside of this run's directory.
  bool branches() const { return resume_ != "auto" && resume_ != "never"; }

  /// What `auto` meant when the run began stays so.
  void adopt(const CheckpointHeader& header) {
    check_resume(header, config_, branches());
    const auto stored = header.texts.find("precision");
    if (config_.run.precision == Precision::automatic && stored != header.texts.end()) {
      config_.run.precision =
          stored->second == "bfloat16" ? Precision::bfloat16 : Precision::float32;
    }
    log_.info(fmt::format("goes on from {} (iteration {})", header.path, header.iteration));
  }

  void open_run_files(const std::string& resumed_from) {
    const std::string topology = topology_table(session_, setup_->device, setup_->threads);
    agree(world_, [&] {
      if (!leader()) return;
      replace_file(directory_.config(), to_yaml(config_));
      std::error_code ignored;
      std::filesystem::remove(directory_.done(), ignored);
      metrics_.emplace(directory_.metrics(), iteration());
      record_->describe(config_.run.name, config_.run.iterations, parameter_count(),
                        dataset_.shape());
      record_->start({.iteration = iteration(),
                      .ranks = session_.size(),
                      .hosts = session_.hosts(),
                      .devices = {to_string(setup_->device)},
                      .precision = to_string(setup_->precision),
                      .reduction = reducer_->description(),
                      .engine = trainer_->engine().description(),
                      .mpi = session_.library_version(),
                      .resumed_from = resumed_from,
                      .threads = setup_->threads});
    });
    log_.info(topology);
    log_.info(fmt::format("{} parameters, chains' gradient by {}, sums by {}, T = {:.3g}",
                          parameter_count(), trainer_->engine().description(),
                          reducer_->description(), config_.sampler.temperature_value()));
  }

  std::int64_t parameter_count() const {
    std::int64_t count = 0;
    for (const NamedTensor& parameter : trainer_->network().parameters()) {
      count += parameter.value.numel();
    }
    return count;
  }

  ExitCode iterate_until_stopped() {
    double seconds_files = 0;
    while (iteration() < config_.run.iterations) {
      IterationRecord record = trainer_->iterate();
      require_finite(record);
      record.seconds_files = seconds_files;
      note(record);
      const auto before = Clock::now();
      const Decision decision = decide();
      if (due(config_.samples.every, iteration()) || decision.last) write_draws_now();
      if (decision.checkpoint) write_checkpoint_now();
      seconds_files = std::chrono::duration<double>(Clock::now() - before).count();
      if (decision.stop) return finish(ExitCode::requeue);
    }
    return finish(ExitCode::finished);
  }

  struct Decision {
    bool stop, checkpoint, last;
  };

  /// Collective. What follows this iteration: any rank's signal counts, rank 0's clock decides.
  Decision decide() {
    const StopRequest request = take_request();
    const auto now = Clock::now();
    bool stop = request.stop, checkpoint = request.checkpoint;
    if (leader()) {
      const std::chrono::duration<double> since = now - last_checkpoint_;
      const auto& seconds = config_.checkpoint.seconds;
      checkpoint = checkpoint || (seconds && since.count() >= *seconds);
      if (config_.run.until) stop = stop || now >= end_time(*config_.run.until, began_).value();
    }
    std::int64_t flags[2] = {stop, checkpoint};
    world_.sum(std::span<std::int64_t>(flags));
    const bool last = iteration() == config_.run.iterations;
    stop = flags[0] > 0 && !last;
    return {stop, stop || last || flags[1] > 0 || due(config_.checkpoint.every, iteration()), last};
  }

  void note(const IterationRecord& record) {
    if (!leader()) return;
    metrics_->append(record);
    progress_line_.add(record);
    if (iteration() % config_.log.every == 0 || iteration() == config_.run.iterations) {
      log_.info(progress_line_.take());
    }
  }

  void require_finite(const IterationRecord& record) const {
    if (std::isfinite(record.loss) && std::isfinite(record.gradient_norm)) return;
    throw Error(
        ExitCode::diverged,
        fmt::format("the training diverged at iteration {}: the loss is {} and the "
                    "gradient's norm {}; lower optimizer.learning_rate or "
                    "sampler.step_size, and go on from the newest checkpoint in {}",
                    iteration(), record.loss, record.gradient_norm, directory_.checkpoints()));
  }

  /// Rank 0 writes the verdict, unless the directory is another run's by now.
  void note_failure(const Error& error) {
    if (leader() && record_ && directory_.owned()) {
      record_->stop(iteration(), error.code, error.what());
    }
  }

  /// The rank that failed inside a collective, before it ends all ranks.
  void note_abort(const Error& error) {
    note_failure(error);
    log_.error(error.what());
    if (!leader()) std::cerr << "stanley: " << error.what() << std::endl;
  }

  /// Rank 0, before a file gets its final name.
  void before_rename() {
    directory_.check_ownership();
    if (metrics_) metrics_->sync();
  }

  void write_checkpoint_now() {
    CheckpointContents contents;
    contents.iteration = iteration();
    contents.arrays = trainer_->arrays();
    contents.progress = trainer_->progress();
    contents.texts = {{"config", to_yaml(config_)},
                      {"precision", to_string(setup_->precision)},
                      {"device", to_string(setup_->device.kind)},
                      {"versions", fmt::format(R"({{"stanley": "{}", "commit": "{}"}})",
                                               build_version, build_commit)}};
    FileOptions options = file_options_;
    options.retention = [this] {
      retain_checkpoints(directory_.checkpoints(), config_.checkpoint.keep_last,
                         config_.checkpoint.keep_every, {0});
    };
    const CommitReport report =
        write_checkpoint(world_, directory_.checkpoints(), contents, options);
    last_checkpoint_ = Clock::now();
    say("checkpoint", report);
  }

  void write_draws_now() {
    say("draws", write_bank_draws(*trainer_, dataset_, config_, directory_.samples(), world_,
                                  file_options_));
  }

  void say(const char* what, const CommitReport& report) {
    const double megabytes = static_cast<double>(report.bytes) / 1e6;
    log_.info(fmt::format("{} {}: {:.1f} MB in {:.2f} s ({:.0f} MB/s)", what, report.path,
                          megabytes, report.seconds, megabytes / report.seconds));
  }

  ExitCode finish(ExitCode code) {
    agree(world_, [&] {
      if (!leader()) return;
      if (code == ExitCode::finished) replace_file(directory_.done(), utc_now() + '\n');
      record_->stop(iteration(), code, "");
    });
    log_.info(code == ExitCode::finished
                  ? fmt::format("finished: {} iterations", iteration())
                  : fmt::format("stopped after iteration {} as asked; the same command goes on "
                                "from there",
                                iteration()));
    return code;
  }

  Config config_;
  std::string resume_;
  bool take_over_;
  Session& session_;
  Communicator& world_;
  Log& log_;
  RunDirectory directory_;
  FileOptions file_options_;
  std::optional<ComputeSetup> setup_;
  Dataset dataset_;
  std::unique_ptr<Reducer> reducer_;
  std::unique_ptr<Trainer> trainer_;
  std::optional<MetricsFile> metrics_;  // rank 0
  std::optional<RunRecord> record_;     // rank 0
  ProgressLine progress_line_;
  Clock::time_point began_, last_checkpoint_;
};

}  // namespace

ExitCode run_training(const TrainingRequest& request, Session& session, Log& log) {
  return Training(request, session, log).run();
}

}  // namespace stanley
