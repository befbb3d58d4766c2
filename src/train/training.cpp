#include "train/training.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/version.h>

#include <algorithm>
#include <atomic>
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
#include "storage/library_version.hpp"
#include "train/chain_motion.hpp"
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
/// A checkpoint that failed is tried again after so long, or when the next one is due.
constexpr double retry_seconds = 30;
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
                     .on_abort =
                         [this](const Error& error) {
                           watchdog_->report(error);
                           note_abort(error);
                           log_.error(session_.describe(error));
                         }};
    watchdog_.emplace(world_, activity_, session_.threads_may_communicate(), watchdog_options());
    // Beside it: the heartbeat is a file's, and files may hang.
    std::optional<Ticker> heartbeat;
    if (leader()) {
      heartbeat.emplace(
          heartbeat_every, [this] { directory_.beat(); },
          [this](const std::exception& error) {
            log_.warn(fmt::format("the heartbeat has ended: {}", error.what()));
          });
    }
    try {
      start();
      const ExitCode code = iterate_until_stopped();
      tell_end(code);
      return code;
    } catch (const std::exception& exception) {
      throw told(as_error(exception));
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
        .limit = static_cast<std::int64_t>(std::clamp(config_.watchdog.seconds, 1.0, 1e9)),
        .hosts = session_.hosts()};
    options.write_verdict = [this](const Error& error) { note_abort(error); };
    options.write_log = [this](const Error& error) { log_.error(session_.describe(error)); };
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
    activity_.enter("verifying checkpoints");
    const auto header = find_start(world_, resume_, directory_.checkpoints(), file_options_, log_);
    const bool automatic = config_.run.device == DeviceKind::automatic;
    if (header) adopt(*header);
    activity_.enter("set-up");
    try {
      setup_.emplace(set_up(config_, session_));
    } catch (const Error& error) {
      if (!automatic || config_.run.device != DeviceKind::cuda) throw;
      Error with_reason(error.code, std::string("the run began on GPUs, where run.device: auto "
                                                "keeps it: ") +
                                        error.what());
      with_reason.agreed = error.agreed;
      with_reason.rank = error.rank;
      throw with_reason;
    }
    if (header) check_energy_file(*header, config_, setup_->energy_file.digest);
    activity_.enter("reading the data");
    dataset_ =
        Dataset::load(config_.data, config_.run.seed, world_, [this] { activity_.advance(); });
    if (header && !branches()) check_data(*header, dataset_.digest(), config_.data);
    healthy_ = {
        .spread = dataset_.spread(),
        .saturation = config_.sampler.box ? dataset_.share_outside(*config_.sampler.box) : 0,
        .active_chains = config_.chains.active};
    reducer_ = reducer_for(config_, *setup_, session_);
    activity_.enter("starting the chains");
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
    write({.draws = config_.samples.every.has_value(), .checkpoint = true});
    output_->wait();
    in_flight_ = {};
  }

  /// Collective. Retention leaves the run's first one alone.
  std::int64_t oldest_checkpoint() {
    std::int64_t oldest = 0;
    agree(world_, [&] {
      if (!leader()) return;
      const auto iterations = list_checkpoints(directory_.checkpoints());
      if (!iterations.empty()) oldest = iterations.back();
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

  /// What the checkpoint says of the run, and what of it changes now.
  void adopt(const CheckpointHeader& header) {
    const auto unknown = unknown_keys(header);
    if (!unknown.empty()) {
      log_.warn(fmt::format("{} has keys that this release doesn't know, and goes on without: {}",
                            header.path, fmt::join(unknown, ", ")));
    }
    check_resume(header, config_, branches());
    if (branches() && header.iteration >= config_.run.iterations) {
      throw Error(ExitCode::configuration,
                  fmt::format("{} is of iteration {}, and run.iterations is {}: nothing is left to "
                              "train; raise run.iterations",
                              header.path, header.iteration, config_.run.iterations));
    }
    for (const auto& change : keep_resolved(header, branches(), config_)) log_.warn(change);
    const auto attempt = static_cast<std::uint32_t>(integer_of(header.progress, "attempt"));
    // The record may be lost; the checkpoint knows how often its run went back.
    if (!branches()) attempt_ = std::max(attempt_, attempt);
    log_.info(fmt::format("goes on from {} (iteration {})", header.path, header.iteration));
    if (branches() && attempt > 0) {
      log_.info(
          fmt::format("the branch begins as attempt 0, with the whole learning rate and noise "
                      "of its own; its parent was at attempt {}",
                      attempt));
    }
  }

  /// Collective. A trainer of the present attempt, at the checkpoint's iteration if there is one.
  void take_up(const CheckpointHeader* header, Sharding sharding) {
    trainer_.reset();  // two banks may not have room
    trainer_ = std::make_unique<Trainer>(
        config_, dataset_,
        TrainerContext{world_, *reducer_, setup_->torch_device, setup_->precision, activity_,
                       setup_->energy_file.bytes},
        attempt_);
    guard_.emplace(config_.guard, healthy_);
    if (header == nullptr) return begin();
    {
      Filling filling(trainer_->arrays());
      check_arrays(*header, filling.arrays(), sharding);
      activity_.enter("reading a checkpoint");
      read_checkpoint(world_, *header, filling.arrays(), sharding, file_options_);
      filling.finish();
    }
    const Progress progress = progress_of(*header, config_, sharding == Sharding::any);
    trainer_->restore(progress);
    reached_ = iteration();
    if (const auto note = moved_end_note(config_, progress); !note.empty()) log_.warn(note);
    // A branch with other data, another objective or optimiser has bands of its own.
    if (learns_alike(*header, config_)) guard_->restore(header->progress);
  }

  /// Collective. Starts the chains, and computes an energy before any file is written.
  void begin() {
    trainer_->begin();
    agree(world_, [&] { trainer_->chain_energies(1); });
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
                      .processor = processor_name(),
                      .precision = to_string(setup_->precision),
                      .reduction = reducer_->description(),
                      .engine = trainer_->engine().description(),
                      .resumed_from = resumed_from,
                      .libraries = {{"mpi", session_.library_version()},
                                    {"hdf5", hdf5_version()},
                                    {"libtorch", TORCH_VERSION}},
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
    const std::int64_t last = std::max(metrics_->last_kept(), targets_.base);
    if (last >= iteration()) return;
    log_.warn(fmt::format("{} has no rows of the iterations {} to {}: they were lost",
                          directory_.metrics(), last + 1, iteration()));
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

  /// Rank 0. The times of run.until and of the end of Slurm's job.
  void find_end() {
    if (config_.run.until) until_ = end_time(*config_.run.until, began_);
    job_end_ = slurm_job_end(process_environment());
    if (!job_end_ || (until_ && *until_ <= *job_end_)) return;
    log_.info(fmt::format("Slurm ends this job at {:%Y-%m-%d %H:%M:%S}: the run stops in time",
                          fmt::localtime(Clock::to_time_t(*job_end_))));
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
      reached_ = iteration();
      Stopwatch phase;
      const std::optional<Divergence> divergence = guard_->observe(record);
      record.seconds_guard += phase.lap();
      record.seconds_files = seconds_files;
      note(record);
      phase.lap();
      const Decision decision = decide(record, divergence.has_value());
      if (decision.diverged) {
        roll_back(share(divergence));
      } else {
        write({.draws = due(config_.samples.every, iteration()) ||
                        (decision.last && config_.samples.every),
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

  /// What each rank says at an iteration's end, and what some rank said once they are added up.
  struct Votes {
    std::int64_t signal = 0, until = 0, job_end = 0, checkpoint = 0, diverged = 0, files_failed = 0,
                 directory_lost = 0;
  };

  /// Collective. What follows this iteration: any rank's signal counts, rank 0's clock decides.
  Decision decide(const IterationRecord& record, bool diverged) {
    const StopRequest request = take_request();
    Votes votes{.signal = request.stop,
                .checkpoint = request.checkpoint,
                .diverged = diverged,
                .files_failed = output_->failed()};
    if (leader()) vote_by_clock(record, votes);
    static_assert(sizeof votes % sizeof(std::int64_t) == 0);
    world_.sum(std::span(&votes.signal, sizeof votes / sizeof(std::int64_t)));
    if (votes.files_failed > 0) settle_files();
    if (votes.directory_lost > 0) {
      agree(world_, [&] {
        if (leader()) directory_.check_ownership();
      });
    }
    asked_by_ = votes.signal > 0    ? "signal"
                : votes.until > 0   ? "run.until"
                : votes.job_end > 0 ? "Slurm's end of the job"
                                    : "";
    const bool last = iteration() == config_.run.iterations;
    if (last) asked_by_.clear();  // nothing is left to stop
    const bool stop = !asked_by_.empty();
    const bool due_now =
        stop || last || votes.checkpoint > 0 || due(config_.checkpoint.every, iteration());
    return {stop, due_now, last, votes.diverged > 0};
  }

  /// Rank 0.
  void vote_by_clock(const IterationRecord& record, Votes& votes) const {
    const auto now = Clock::now();
    const std::chrono::duration<double> since = now - last_checkpoint_;
    // One that failed is not waited for as long as one that was written.
    auto seconds = config_.checkpoint.seconds;
    if (owed_.any()) seconds = std::min(seconds.value_or(retry_seconds), retry_seconds);
    if (seconds && since.count() >= *seconds) votes.checkpoint = 1;
    const auto ends = [&](const auto& end) { return end && now + margin(record) >= *end; };
    votes.until = ends(until_);
    votes.job_end = ends(job_end_);
    votes.directory_lost = iteration() % config_.log.every == 0 && !directory_.owned();
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
    tell_motion(record);
    tell_stragglers(recent_waits_);
    recent_waits_ = {};
  }

  /// Says once what keeps the chains from sampling.
  void tell_motion(const IterationRecord& record) {
    if (motion_told_) return;
    const auto complaints = motion_complaints(
        record, config_.sampler, {healthy_.spread, healthy_.saturation, dataset_.dimension()});
    for (const std::string& complaint : complaints) log_.warn(complaint);
    motion_told_ = !complaints.empty();
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
    if (!request.draws && !request.checkpoint) return;
    settle_files();
    request.draws = request.draws || owed_.draws;
    request.checkpoint = request.checkpoint || owed_.checkpoint;
    owed_ = {};
    in_flight_ = {request.draws, request.checkpoint};
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

  /// Collective. Waits for the files in flight. Where they failed the run goes on once, since a
  /// file system may be gone for a while; the second failure in a row ends it.
  void settle_files() {
    try {
      output_->wait();
      if (in_flight_.any()) failures_ = 0;
    } catch (const Error& error) {
      if (++failures_ > 1 || error.code != ExitCode::input_output || !directory_is_ours()) throw;
      owed_ = in_flight_;
      log_.warn(
          fmt::format("{}; files are written again, as the chains stand then, within {:.0f} s, "
                      "and a second failure ends the run",
                      error.what(), retry_seconds));
    }
    in_flight_ = {};
  }

  /// Collective.
  bool directory_is_ours() { return world_.min(leader() && !directory_.owned() ? 0 : 1) > 0; }

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

  /// Collective. What the first rank that saw one saw. Their records are the same, but norms may
  /// differ in the last bit where processors do.
  Divergence share(const std::optional<Divergence>& seen) {
    const auto mine = seen.value_or(Divergence{});
    for (const std::string& text : world_.all_gather(mine.seen + '\0' + mine.advice)) {
      const std::size_t end = text.find('\0');
      if (end > 0) return {text.substr(0, end), text.substr(end + 1)};
    }
    throw Error(ExitCode::bug, "no rank saw the divergence that one told of");
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
    settle_files();
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
    owed_ = {};  // of states that are no more
    take_up(&target, Sharding::same);
    progress_line_ = ProgressLine(config_.run.iterations);
  }

  // --- the end ----------------------------------------------------------------------------------

  /// Sees to it that the verdict is written, and returns the error to be told at last.
  Error told(const Error& error) {
    if (leader()) {
      note_failure(error);
      // Where the directory is another run's by now, that is why.
      directory_.check_ownership();
    } else if (!error.agreed) {
      watchdog_->report(error);
    }
    return error;
  }

  /// Rank 0 writes the verdict, unless the directory is another run's by now or its disk is what
  /// failed: the first error is the one to tell. Any thread.
  void note_failure(const Error& error) {
    if (!leader() || !record_ || !directory_.owned()) return;
    try {
      record_->stop({.iteration = reached_,
                     .code = error.code,
                     .message = session_.describe(error),
                     .host = session_.host_of(error)});
    } catch (const std::exception&) {
      log_.warn("run.json can't say how the run ended");
    }
  }

  /// The rank that ends all ranks from within, before it does so. Any thread.
  void note_abort(const Error& error) {
    std::cerr << "stanley: " + session_.describe(error) + '\n' << std::flush;
    note_failure(error);
  }

  ExitCode finish(ExitCode code) {
    settle_files();
    write({.draws = owed_.draws, .checkpoint = owed_.checkpoint});
    output_->wait();
    const std::vector<double> waited = waits_.gather(world_);
    agree(world_, [&] {
      if (!leader()) return;
      remove_unfinished(directory_.checkpoints());
      remove_unfinished(directory_.samples());
      record_->waited(waited, waits_.seconds());
      record_->stop({.iteration = iteration(), .code = code, .asked_by = asked_by_});
      // Last: who finds it need do nothing more.
      if (code == ExitCode::finished) replace_file(directory_.done(), utc_now() + '\n');
    });
    return code;
  }

  void tell_end(ExitCode code) {
    const double seconds = waits_.seconds();
    if (seconds > 0) {
      tell_stragglers(waits_);
      log_.info(fmt::format("guard {:.3f} % and watchdog {:.3f} % of {}",
                            100 * seconds_guard_ / seconds, 100 * watchdog_->seconds() / seconds,
                            duration_text(seconds)));
    }
    log_.info(code == ExitCode::finished
                  ? fmt::format("finished: {} iterations", iteration())
                  : fmt::format("stopped after iteration {}, asked by {}; the same command goes on "
                                "from there",
                                iteration(), asked_by_));
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
  Guard::Healthy healthy_;
  std::unique_ptr<Reducer> reducer_;
  std::unique_ptr<Trainer> trainer_;
  std::optional<Guard> guard_;
  std::optional<MetricsFile> metrics_;  // rank 0
  std::optional<RunRecord> record_;     // rank 0
  ProgressLine progress_line_;
  Clock::time_point last_checkpoint_;
  std::optional<Clock::time_point> until_, job_end_;  // rank 0
  /// What a write that failed still owes.
  struct Owed {
    bool draws = false, checkpoint = false;
    bool any() const { return draws || checkpoint; }
  } owed_, in_flight_;
  bool motion_told_ = false;
  double seconds_guard_ = 0;              // of this start's iterations
  WaitTally waits_, recent_waits_;        // of this start's iterations; since the log's last line
  std::uint32_t attempt_ = 0;             // roll-backs so far
  std::atomic<std::int64_t> reached_{0};  // iteration(), for other threads
  std::string asked_by_;                  // who wants the run to stop; empty: nobody
  RollbackTargets targets_{.every = config_.checkpoint.every.value_or(0),
                           .probation = config_.guard.probation};
  int failures_ = 0;                  // of files, in a row
  std::optional<Watchdog> watchdog_;  // its thread uses what stands above
  std::optional<Output> output_;      // last: so does its thread, the watchdog too
};

}  // namespace

ExitCode run_training(const TrainingRequest& request, Session& session, Log& log) {
  return Training(request, session, log).run();
}

}  // namespace stanley
