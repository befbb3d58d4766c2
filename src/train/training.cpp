#include "train/training.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <iostream>
#include <optional>

#include "config/error.hpp"
#include "config/time_limit.hpp"
#include "data/dataset.hpp"
#include "parallel/agree.hpp"
#include "parallel/topology.hpp"
#include "run/activity.hpp"
#include "run/directory.hpp"
#include "run/metrics.hpp"
#include "run/record.hpp"
#include "run/rejection.hpp"
#include "run/slurm.hpp"
#include "run/stop.hpp"
#include "run/stopwatch.hpp"
#include "run/stragglers.hpp"
#include "run/ticker.hpp"
#include "run/version.hpp"
#include "run/watchdog.hpp"
#include "storage/checkpoint.hpp"
#include "train/guard.hpp"
#include "train/output.hpp"
#include "train/resume.hpp"
#include "train/rollback_targets.hpp"
#include "train/setup.hpp"
#include "train/trainer.hpp"

namespace stanley {
namespace {

using Clock = std::chrono::system_clock;

bool due(const std::optional<std::int64_t>& every, std::int64_t iteration) {
  return every && iteration % *every == 0;
}

/// Time that a run leaves itself before its end: what its newest checkpoint and its newest
/// iteration took, with some room; at least so many seconds.
constexpr double least_margin = 2;
/// From one sign of life in the owner file to the next.
constexpr std::chrono::seconds heartbeat_every{5};

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
    agree(world_, [&] {
      if (leader()) refuse_past_end();
    });
    if (already_finished()) return ExitCode::finished;
    agree(world_, [&] {
      if (!leader()) return;
      directory_.take(claim());
      log_.add_file(directory_.log());
      record_.emplace(directory_.record());
      if (record_->was_broken()) {
        log_.warn(fmt::format("{} was broken; it is kept as {}.broken, and a new one begins",
                              directory_.record(), directory_.record()));
      }
    });
    // Unfinished files are named after this start: one that lost its directory harms no other's.
    file_options_ = {.job = world_.broadcast(directory_.token(), 0),
                     .hints = config_.checkpoint.hints,
                     .before_rename = [this] { before_rename(); },
                     .progressed = [this] { activity_.advance(); },
                     .on_abort = [this](const Error& error) { note_abort(error); }};
    try {
      const Watchdog watchdog(world_, activity_, session_.threads_may_communicate(),
                              watchdog_options());
      // Beside it: the heartbeat is a file's, and files may hang.
      std::optional<Ticker> heartbeat;
      if (leader()) {
        heartbeat.emplace(
            heartbeat_every, [this] { directory_.beat(); },
            [this](const std::exception& error) {
              log_.warn(fmt::format("the heartbeat has ended: {}", error.what()));
            });
      }
      start();
      const ExitCode code = iterate_until_stopped();
      tell_end(code, watchdog);
      return code;
    } catch (const std::exception& exception) {
      note_failure(as_error(exception));
      // Where the directory is another run's by now, that is why.
      if (leader()) directory_.check_ownership();
      throw;
    }
  }

 private:
  bool leader() const { return world_.rank() == 0; }

  Claim claim() const {
    Claim claim = claim_of_job();
    claim.take_over = take_over_;
    return claim;
  }

  std::int64_t iteration() const { return trainer_->iteration(); }

  bool already_finished() {
    std::int64_t newest = -1;
    agree(world_, [&] {
      if (!leader() || !std::filesystem::exists(directory_.done())) return;
      const auto iterations = list_checkpoints(directory_.checkpoints());
      newest = iterations.empty() ? -1 : iterations.front();
    });
    newest = static_cast<std::int64_t>(world_.max(static_cast<double>(newest)));
    if (resume_ != "auto" || newest < config_.run.iterations) return false;
    agree(world_, [&] {
      if (leader()) refuse_another_run(newest);
    });
    tidy_up();
    log_.info(fmt::format("{} is finished: {} of {} iterations; raise run.iterations to go on",
                          directory_.path(), newest, config_.run.iterations));
    return true;
  }

  /// Rank 0. What is finished must be what was asked for: a sweep that names two runs alike would
  /// train but one of them.
  void refuse_another_run(std::int64_t newest) const {
    const auto header = read_checkpoint_header(checkpoint_path(directory_.checkpoints(), newest));
    check_resume(header, config_, false);
    std::error_code ignored;
    // A run that is finished needs its data no more.
    if (config_.data.type != DataType::file ||
        !std::filesystem::exists(config_.data.path, ignored)) {
      return;
    }
    const auto alone = make_local_communicator();
    check_data(header, Dataset::load(config_.data, config_.run.seed, *alone).digest(),
               config_.data);
  }

  /// Takes away the owner file of a process that was killed at the very end.
  void tidy_up() {
    if (!leader()) return;
    try {
      directory_.take(claim());
    } catch (const Error&) {
      // Perhaps it may only be read: it is finished all the same.
    }
  }

  Watchdog::Options watchdog_options() {
    Watchdog::Options options{
        .limit = std::max<std::int64_t>(1, static_cast<std::int64_t>(config_.watchdog.seconds)),
        .hosts = session_.hosts()};
    options.on_hang = [this](const std::string& message) {
      note_abort(Error(ExitCode::communication, message));
    };
    return options;
  }

  // --- start ------------------------------------------------------------------------------------

  void start() {
    activity_.enter("set-up");
    log_.info(fmt::format("stanley {} ({}), run directory {}", build_version, build_commit,
                          directory_.path()));
    if (config_.data.type != DataType::file && !config_.data.path.empty()) {
      log_.warn(
          fmt::format("data.path {} is not read: data.type is {}; set it to file to train on it",
                      config_.data.path, to_string(config_.data.type)));
    }
    agree(world_, [&] {
      if (!leader()) return;
      remove_unfinished(directory_.checkpoints());
      remove_unfinished(directory_.samples());
      finish_roll_back();
      if (branches()) check_branch();
    });
    attempt_ = static_cast<std::uint32_t>(world_.max(attempt_));
    resume_ = world_.broadcast(resume_, 0);
    const auto header = find_start(world_, resume_, directory_.checkpoints(), file_options_, log_);
    if (header) adopt(*header);
    setup_.emplace(set_up(config_, session_));
    if (header) check_energy_file(*header, config_, setup_->energy_file.digest);
    dataset_ = Dataset::load(config_.data, config_.run.seed, world_);
    if (header && !branches()) check_data(*header, dataset_.digest(), config_.data);
    reducer_ = reducer_for(config_, *setup_, session_);
    output_.emplace(config_, directory_, file_options_, session_, log_, activity_);
    const bool anew = !header || branches();
    take_up(header ? &*header : nullptr, branches() ? Sharding::any : Sharding::same);
    targets_.base = anew ? iteration() : oldest_checkpoint();
    open_run_files(header ? header->path : "");
    last_checkpoint_ = Clock::now();
    if (leader()) find_end();
    if (!anew) return;
    // What a divergence goes back to if no other checkpoint is there. A run that can't write it
    // should end before it computes.
    write({.draws = true, .checkpoint = true});
    output_->wait();
  }

  /// Collective. Retention leaves the run's first one alone.
  std::int64_t oldest_checkpoint() {
    std::int64_t oldest = 0;
    agree(world_, [&] {
      if (leader()) oldest = list_checkpoints(directory_.checkpoints()).back();
    });
    return static_cast<std::int64_t>(world_.max(static_cast<double>(oldest)));
  }

  /// A file named by --resume from outside of this run's directory.
  bool branches() const { return resume_ != "auto" && resume_ != "never"; }

  /// Rank 0. The same command again goes on with a branch; another run's directory is refused.
  void check_branch() {
    if (list_checkpoints(directory_.checkpoints()).empty()) return;
    if (record_->origin() != resume_) {
      throw Error(
          ExitCode::input_output,
          fmt::format("{} already holds a run that did not begin from {}; branch into a new "
                      "directory with --run-directory, or go on with --resume auto",
                      directory_.path(), resume_));
    }
    resume_ = "auto";
  }

  /// Rank 0. What was cut off in the middle of a roll-back.
  void finish_roll_back() {
    const auto last = record_->last_roll_back();
    if (!last) return;
    attempt_ = static_cast<std::uint32_t>(last->attempt);
    reject_files(directory_, last->target, last->attempt);
  }

  /// What `auto` meant when the run began stays so.
  void adopt(const CheckpointHeader& header) {
    check_resume(header, config_, branches());
    const auto stored = header.texts.find("precision");
    if (config_.run.precision == Precision::automatic && stored != header.texts.end()) {
      config_.run.precision =
          stored->second == "bfloat16" ? Precision::bfloat16 : Precision::float32;
    }
    // The record may be lost; the checkpoint knows how often its run went back.
    if (!branches()) {
      attempt_ =
          std::max(attempt_, static_cast<std::uint32_t>(integer_of(header.progress, "attempt")));
    }
    log_.info(fmt::format("goes on from {} (iteration {})", header.path, header.iteration));
  }

  /// Collective. A trainer of the present attempt, at the checkpoint's iteration if there is one.
  void take_up(const CheckpointHeader* header, Sharding sharding) {
    trainer_ = std::make_unique<Trainer>(
        config_, dataset_,
        TrainerContext{world_, *reducer_, setup_->torch_device, setup_->precision, activity_,
                       setup_->energy_file.bytes},
        attempt_);
    guard_.emplace(
        config_.guard,
        Guard::Healthy{
            .spread = dataset_.spread(),
            .saturation = config_.sampler.box ? dataset_.share_outside(*config_.sampler.box) : 0,
            .active_chains = config_.chains.active});
    if (header == nullptr) return;
    const std::vector<ArrayView> arrays = trainer_->arrays();
    check_arrays(*header, arrays, sharding);
    read_checkpoint(world_, *header, arrays, sharding, file_options_);
    trainer_->restore(header->progress);
    // A branch with other data, another objective or optimiser has bands of its own.
    if (learns_alike(*header, config_)) guard_->restore(header->progress);
  }

  void open_run_files(const std::string& resumed_from) {
    const std::string topology = topology_table(session_, setup_->device, setup_->threads);
    agree(world_, [&] {
      if (!leader()) return;
      replace_file(directory_.config(), to_yaml(config_));
      std::error_code ignored;
      std::filesystem::remove(directory_.done(), ignored);
      metrics_.emplace(directory_.metrics(), iteration());
      tell_lost_rows();
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
    const std::string idle = idle_threads(config_, *setup_, trainer_->working_threads());
    if (!idle.empty()) log_.warn(idle);
  }

  /// Rank 0. A history with a gap must not look like one without.
  void tell_lost_rows() {
    const std::int64_t first = branches() ? iteration() : 0;
    if (metrics_->last_kept() >= iteration() || iteration() == first) return;
    log_.warn(fmt::format("{} has no rows of the iterations {} to {}: they were lost",
                          directory_.metrics(), metrics_->last_kept() + 1, iteration()));
  }

  /// Rank 0. A time of day that has passed would stop each start of a requeued job after an
  /// iteration.
  void refuse_past_end() const {
    if (!config_.run.until) return;
    const auto end = end_time(*config_.run.until, began_);
    if (!end || *end > began_) return;
    throw Error(ExitCode::configuration,
                fmt::format("run.until {} has passed: give a later time, a duration such as 3h30m, "
                            "or leave it out",
                            *config_.run.until));
  }

  /// Rank 0. The earlier one of run.until and the end of Slurm's job.
  void find_end() {
    if (config_.run.until) end_ = end_time(*config_.run.until, began_);
    const auto job_end = slurm_job_end(process_environment());
    if (!job_end || (end_ && *end_ <= *job_end)) return;
    end_ = job_end;
    log_.info(fmt::format("Slurm ends this job at {:%Y-%m-%d %H:%M:%S}: the run stops in time",
                          fmt::localtime(Clock::to_time_t(*job_end))));
  }

  std::int64_t parameter_count() const {
    std::int64_t count = 0;
    for (const NamedTensor& parameter : trainer_->network().parameters()) {
      count += parameter.value.numel();
    }
    return count;
  }

  // --- the loop ---------------------------------------------------------------------------------

  ExitCode iterate_until_stopped() {
    double seconds_files = 0;
    while (iteration() < config_.run.iterations) {
      IterationRecord record = trainer_->iterate();
      Stopwatch phase;
      const std::optional<Divergence> divergence = guard_->observe(record);
      record.seconds_guard += phase.lap();
      record.seconds_files = seconds_files;
      note(record);
      phase.lap();
      const Decision decision = decide(record, divergence.has_value());
      if (decision.diverged) {
        roll_back(divergence.value());
      } else {
        write({.draws = due(config_.samples.every, iteration()) || decision.last,
               .checkpoint = decision.checkpoint});
      }
      if (decision.stop) return finish(ExitCode::requeue);
      seconds_files = phase.lap();
    }
    return finish(ExitCode::finished);
  }

  struct Decision {
    bool stop, checkpoint, last, diverged;
  };

  /// Collective. What follows this iteration: any rank's signal counts, rank 0's clock decides.
  Decision decide(const IterationRecord& record, bool diverged) {
    const StopRequest request = take_request();
    bool stop = request.stop, checkpoint = request.checkpoint;
    if (leader()) {
      const auto now = Clock::now();
      const std::chrono::duration<double> since = now - last_checkpoint_;
      const auto& seconds = config_.checkpoint.seconds;
      checkpoint = checkpoint || (seconds && since.count() >= *seconds);
      stop = stop || (end_ && now + margin(record) >= *end_);
    }
    const bool lost = leader() && iteration() % config_.log.every == 0 && !directory_.owned();
    std::int64_t flags[5] = {stop, checkpoint, diverged, output_->failed(), lost};
    world_.sum(std::span<std::int64_t>(flags));
    if (flags[3] > 0) give_up_on_files();
    if (flags[4] > 0)
      agree(world_, [&] {
        if (leader()) directory_.check_ownership();
      });
    const bool last = iteration() == config_.run.iterations;
    stop = flags[0] > 0 && !last;
    return {stop, stop || last || flags[1] > 0 || due(config_.checkpoint.every, iteration()), last,
            flags[2] > 0};
  }

  Clock::duration margin(const IterationRecord& record) const {
    const double seconds = 2 * record.seconds_iteration + 1.5 * output_->checkpoint_seconds();
    return std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(std::max(least_margin, seconds)));
  }

  /// Collective where a line of the log is due.
  void note(const IterationRecord& record) {
    const double seconds = record.seconds_iteration + record.seconds_files;
    seconds_guard_ += record.seconds_guard;
    waits_.add(record.seconds_waiting, seconds);
    recent_waits_.add(record.seconds_waiting, seconds);
    if (leader()) {
      metrics_->append(record);
      progress_line_.add(record);
    }
    if (iteration() % config_.log.every != 0 && iteration() != config_.run.iterations) return;
    log_.info(progress_line_.take());
    tell_stragglers(recent_waits_);
    recent_waits_ = {};
  }

  /// Collective. Returns how long each rank waited.
  std::vector<double> tell_stragglers(const WaitTally& waits) {
    std::vector<double> waited = waits.gather(world_);
    const std::string line = straggler_line(waited, session_.hosts(), waits.seconds());
    if (!line.empty()) log_.info(line);
    return waited;
  }

  // --- files ------------------------------------------------------------------------------------

  void write(Output::Request request) {
    if (request.checkpoint) {
      request.progress = trainer_->progress();
      guard_->add_to(request.progress);
      request.texts = {{"config", to_yaml(config_)},
                       {"precision", to_string(setup_->precision)},
                       {"device", to_string(setup_->device.kind)},
                       {"versions", fmt::format(R"({{"stanley": "{}", "commit": "{}"}})",
                                                build_version, build_commit)}};
      if (!setup_->energy_file.digest.empty()) {
        request.texts[energy_digest] = setup_->energy_file.digest;
      }
      if (!dataset_.digest().empty()) request.texts[data_digest] = dataset_.digest();
      request.keep = targets_.from(iteration());
      last_checkpoint_ = Clock::now();
    }
    output_->write(*trainer_, dataset_, request);
  }

  /// Collective. Some rank's files went wrong: what and why is thrown on all.
  [[noreturn]] void give_up_on_files() {
    output_->wait();
    throw Error(ExitCode::communication, "another rank could not write its part of a file");
  }

  /// Rank 0, before a file gets its final name.
  void before_rename() {
    directory_.check_ownership();
    if (metrics_) metrics_->sync();
  }

  // --- divergence -------------------------------------------------------------------------------

  /// Collective. The newest checkpoint that a run which diverged at `now` may go back to.
  CheckpointHeader find_target(std::int64_t now) {
    std::string reasons;
    for (std::int64_t at = targets_.newest(now);; at = targets_.newest(at)) {
      try {
        return verify_checkpoint(world_, checkpoint_path(directory_.checkpoints(), at),
                                 file_options_);
      } catch (const Error& error) {
        if (error.code != ExitCode::input_output) throw;
        reasons += std::string("\n  ") + error.what();
      }
      if (at == targets_.base) break;
    }
    throw Error(ExitCode::diverged,
                "the training diverged, and there is no checkpoint to go back to:" + reasons);
  }

  /// Collective. Goes back to an older checkpoint, with new noise and half the learning rate.
  void roll_back(const Divergence& divergence) {
    const std::int64_t now = iteration();
    const std::string seen =
        fmt::format("the training diverged at iteration {}: {}", now, divergence.seen);
    if (!config_.guard.enabled || attempt_ >= config_.guard.attempts) {
      throw Error(ExitCode::diverged,
                  fmt::format("{}; {} roll-backs were made; {}, in a branch from a checkpoint of "
                              "{} (--resume CHECKPOINT --run-directory NEW)",
                              seen, attempt_, divergence.advice, directory_.checkpoints()));
    }
    output_->wait();
    const CheckpointHeader target = find_target(now);
    ++attempt_;
    agree(world_, [&] {
      if (!leader()) return;
      record_->roll_back({attempt_, now, target.iteration, divergence.seen});
      reject_files(directory_, target.iteration, attempt_);
      metrics_.emplace(directory_.metrics(), target.iteration);
    });
    log_.warn(fmt::format(
        "{}; goes back to iteration {} with new noise and half the learning rate "
        "(attempt {} of {}); later files are in {}",
        seen, target.iteration, attempt_, config_.guard.attempts, directory_.rejected(attempt_)));
    take_up(&target, Sharding::same);
    progress_line_ = ProgressLine(config_.run.iterations);
  }

  // --- the end ----------------------------------------------------------------------------------

  /// Rank 0 writes the verdict, unless the directory is another run's by now or its disk is what
  /// failed: the first error is the one to tell.
  void note_failure(const Error& error) {
    if (!leader() || !record_ || !directory_.owned()) return;
    try {
      record_->stop(trainer_ ? iteration() : 0, error.code, error.what());
    } catch (const std::exception&) {
      log_.warn("run.json can't say how the run ended");
    }
  }

  /// The rank that ends all ranks from within, before it does so.
  void note_abort(const Error& error) {
    std::cerr << "stanley: " << error.what() << std::endl;
    log_.error(error.what());
    note_failure(error);
  }

  ExitCode finish(ExitCode code) {
    output_->wait();
    const std::vector<double> waited = waits_.gather(world_);
    agree(world_, [&] {
      if (!leader()) return;
      remove_unfinished(directory_.checkpoints());
      remove_unfinished(directory_.samples());
      record_->waited(waited, waits_.seconds());
      record_->stop(iteration(), code, "");
      // Last: who finds it need do nothing more.
      if (code == ExitCode::finished) replace_file(directory_.done(), utc_now() + '\n');
    });
    return code;
  }

  void tell_end(ExitCode code, const Watchdog& watchdog) {
    const double seconds = waits_.seconds();
    if (seconds > 0) {
      tell_stragglers(waits_);
      log_.info(fmt::format("guard {:.3f} % and watchdog {:.3f} % of {}",
                            100 * seconds_guard_ / seconds, 100 * watchdog.seconds() / seconds,
                            duration_text(seconds)));
    }
    log_.info(code == ExitCode::finished
                  ? fmt::format("finished: {} iterations", iteration())
                  : fmt::format("stopped after iteration {} as asked; the same command goes on "
                                "from there",
                                iteration()));
  }

  Clock::time_point began_ = Clock::now();  // run.until counts from here
  Config config_;
  std::string resume_;
  bool take_over_;
  Session& session_;
  Communicator& world_;
  Log& log_;
  RunDirectory directory_;
  Activity activity_;
  FileOptions file_options_;
  std::optional<ComputeSetup> setup_;
  Dataset dataset_;
  std::unique_ptr<Reducer> reducer_;
  std::unique_ptr<Trainer> trainer_;
  std::optional<Guard> guard_;
  std::optional<MetricsFile> metrics_;  // rank 0
  std::optional<RunRecord> record_;     // rank 0
  ProgressLine progress_line_;
  Clock::time_point last_checkpoint_;
  std::optional<Clock::time_point> end_;  // rank 0: of the wall time
  double seconds_guard_ = 0;              // of this start's iterations
  WaitTally waits_, recent_waits_;        // of this start's iterations; since the log's last line
  std::uint32_t attempt_ = 0;             // roll-backs so far
  RollbackTargets targets_{.every = config_.checkpoint.every.value_or(0),
                           .probation = config_.guard.probation};
  std::optional<Output> output_;  // last: its thread uses what stands above
};

}  // namespace

ExitCode run_training(const TrainingRequest& request, Session& session, Log& log) {
  return Training(request, session, log).run();
}

}  // namespace stanley
