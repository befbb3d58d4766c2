#include "train/training.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "config/error.hpp"
#include "config/stages.hpp"
#include "parallel/agree.hpp"
#include "parallel/device.hpp"
#include "run/living_run.hpp"
#include "run/rejection.hpp"
#include "run/stop.hpp"
#include "run/stopwatch.hpp"
#include "run/version.hpp"
#include "train/bank_evaluation.hpp"
#include "train/best.hpp"
#include "train/decision.hpp"
#include "train/iteration_log.hpp"
#include "train/learner.hpp"
#include "train/output.hpp"
#include "train/resume.hpp"
#include "train/roll_back.hpp"
#include "train/start.hpp"

namespace stanley {
namespace {

using Clock = std::chrono::system_clock;

/// One start of a run, from the files to the verdict. Rank 0 keeps the run's own files.
class Training {
 public:
  Training(const TrainingRequest& request, Session& session, Log& log)
      : request_(request),
        config_(request.config),
        session_(session),
        world_(session.world()),
        log_(log),
        run_(request.directory, config_, session, log),
        iteration_log_(config_, session, log) {}

  ExitCode run() {
    require_shards(config_, session_);
    on_first_rank(world_, [&] { refuse_past_end(config_.run, began_); });
    if (already_finished(config_, request_.resume, directory_, session_, log_)) {
      run_.tidy_up(request_.take_over);
      return ExitCode::finished;
    }
    if (config_.evaluation.every) {
      evaluation_.emplace(last_stage(config_), session_, log_, activity_);
    }
    run_.take(request_.take_over, [this] { iteration_log_.sync(); });
    try {
      start();
      return iterate_until_stopped();
    } catch (const std::exception& exception) {
      throw run_.fail(exception);
    }
  }

 private:
  bool leader() const { return world_.rank() == 0; }
  Trainer& trainer() { return learner_->trainer(); }
  std::int64_t iteration() const { return learner_->iteration(); }
  bool in_last_stage() const { return learner_->stage() + 1 == stage_count(config_); }

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
    const Start start = find_start(config_, request_.resume, directory_, verdict_, file_options_,
                                   session_, log_, activity_);
    attempt_ = start.attempt;
    activity_.enter("set-up");
    learner_.emplace(config_, start, session_, activity_);
    output_.emplace(config_, directory_, file_options_, session_, log_, activity_);
    take_up(start.header ? &*start.header : nullptr, start.sharding());
    targets_.base = start.anew() ? iteration() : oldest_checkpoint();
    open_run_files(start.header ? start.header->path : "");
    recall_best(start.anew());
    if (leader()) find_deadlines(config_.run, began_, deadlines_, log_);
    if (start.anew()) {
      // What a divergence goes back to if no other checkpoint is there. A run that can't write it
      // should end before it computes.
      write({.draws = config_.samples.every.has_value(), .checkpoint = true});
      output_->wait();
    }
    prepare_evaluation();
  }

  /// Collective. In the last stage, where images have the data's own size.
  void prepare_evaluation() {
    if (!evaluation_ || evaluation_->prepared()) return;
    if (in_last_stage()) return evaluation_->prepare(learner_->dataset());
    if (!evaluation_later_told_) {
      log_.info("evaluation.every: chains are compared with data in the last stage alone");
    }
    evaluation_later_told_ = true;
  }

  /// Collective. Retention leaves the run's first one alone.
  std::int64_t oldest_checkpoint() {
    std::int64_t oldest = 0;
    on_first_rank(world_, [&] {
      const auto iterations = list_checkpoints(directory_.checkpoints());
      if (!iterations.empty()) oldest = iterations.back();
    });
    return static_cast<std::int64_t>(world_.max(static_cast<double>(oldest)));
  }

  /// Collective. What a run that goes on knows of its best evaluation; a branch begins anew.
  void recall_best(bool anew) {
    bests_ = evaluation_ ? Bests(evaluation_->identity(), evaluation_->chains()) : Bests();
    if (anew) return;
    bool told_otherwise = false;
    bests_ = recall_bests(world_, directory_.checkpoints(), iteration(), targets_.from(iteration()),
                          bests_, told_otherwise);
    if (told_otherwise) {
      log_.warn(
          "evaluation.features, evaluation.chains or samples.denoise are others than those of the "
          "best evaluation so far, which can't be compared: the next one counts as the first");
    }
    on_first_rank(world_, [&] {
      const auto best = bests_.newest();
      point_best_at(best ? std::optional(best->iteration) : std::nullopt, directory_);
    });
  }

  /// Collective. The trainer of the present attempt, at the checkpoint's iteration if there is one.
  void take_up(const CheckpointHeader* header, Sharding sharding) {
    const std::string note = learner_->take_up(header, sharding, attempt_, file_options_);
    verdict_.reached(iteration());
    if (!note.empty()) log_.warn(note);
    tell_stage();
  }

  /// Collective. Begins the next stage from the checkpoint that the present one ended with: as a
  /// start does that finds it.
  void begin_stage() {
    learner_->begin_stage(
        verify_checkpoint(world_, checkpoint_path(directory_.checkpoints(), iteration()),
                          file_options_),
        attempt_, file_options_);
    tell_stage();
    on_first_rank(world_, [&] { verdict_.record().change_to(network_record()); });
    prepare_evaluation();
  }

  NetworkRecord network_record() {
    return {.parameters = trainer().parameter_count(),
            .state_shape = learner_->dataset().shape(),
            .stage = stage_text(config_, learner_->stage())};
  }

  void tell_stage() {
    if (config_.stages.empty()) return;
    const Config& now = learner_->config();
    log_.info(
        fmt::format("{}, K {}, {} active chains, batch {}, learning rate {:.3g}, {} "
                    "parameters",
                    stage_text(config_, learner_->stage()), now.sampler.steps, now.chains.active,
                    now.data.batch, now.optimizer.learning_rate, trainer().parameter_count()));
  }

  void open_run_files(const std::string& resumed_from) {
    const ComputeSetup& setup = learner_->setup();
    const std::string topology = topology_table(session_, setup.device, setup.threads);
    on_first_rank(world_, [&] {
      replace_file(directory_.config(), to_yaml(config_));
      std::error_code ignored;
      std::filesystem::remove(directory_.done(), ignored);
      iteration_log_.open(directory_.metrics(), iteration(), targets_.base,
                          learner_->trainer().more_columns());
      verdict_.record().describe(config_.run.name, config_.run.iterations, network_record());
      verdict_.record().start(learner_->describe(resumed_from));
    });
    log_.info(topology);
    log_.info(fmt::format("{} parameters, chains' gradient by {}, sums by {}, T = {:.3g}",
                          trainer().parameter_count(), trainer().engine().description(),
                          learner_->reducer().description(), config_.sampler.temperature_value()));
    const std::string idle = idle_threads(learner_->config(), setup, trainer().working_threads());
    if (!idle.empty()) log_.warn(idle);
  }

  // --- the loop ---------------------------------------------------------------------------------

  ExitCode iterate_until_stopped() {
    double seconds_files = 0;
    while (iteration() < config_.run.iterations) {
      if (stage_ends(config_, iteration())) begin_stage();
      IterationRecord record = trainer().iterate();
      verdict_.reached(iteration());
      const bool evaluated = evaluation_ && in_last_stage() && evaluation_->due(iteration());
      if (evaluated) evaluation_->observe(trainer(), record);
      seconds_evaluation_ = std::max(seconds_evaluation_, record.seconds_evaluation);
      Stopwatch phase;
      const std::optional<Divergence> divergence = learner_->guard().observe(record);
      record.seconds_guard += phase.lap();
      record.seconds_files = seconds_files;
      iteration_log_.add(record, learner_->config().sampler, learner_->chain_scale());
      phase.lap();
      const Decision decision = decide(vote(record, divergence.has_value()), iteration(), config_);
      if (decision.diverged) {
        roll_back(first_seen(world_, divergence));
      } else {
        const bool best = evaluated && judge(record);
        write({.draws = decision.draws, .checkpoint = decision.checkpoint || best});
        if (decision.stage_ends && !decision.stop()) finish_files();
      }
      if (decision.stop()) return finish(ExitCode::requeue, decision.stop_asked_by);
      seconds_files = phase.lap();
    }
    return finish(ExitCode::finished, "");
  }

  /// Tells an evaluation; whether it is better than all before.
  bool judge(const IterationRecord& record) {
    const std::optional<Best> before = bests_.newest();
    const bool best = bests_.take(record.iteration, record.kid_train);
    log_.info(evaluation_->text_of(record) +
              (best     ? "; the best so far"
               : before ? fmt::format("; the best is {:.1f} at iteration {}", 1000 * before->kid,
                                      before->iteration)
                        : ""));
    return best;
  }

  /// Collective. All ranks' votes: any rank's signal counts, rank 0's clock decides. Deals with
  /// files that failed and a directory that is lost.
  Votes vote(const IterationRecord& record, bool diverged) {
    const StopRequest request = take_request();
    Votes votes{.signal = request.stop,
                .checkpoint = request.checkpoint,
                .diverged = diverged,
                .files_failed = output_->failed()};
    if (leader()) {
      deadlines_.checkpoint_seconds = config_.checkpoint.seconds;
      if (output_->owed().any()) {
        deadlines_.checkpoint_seconds =
            std::min(config_.checkpoint.seconds.value_or(retry_seconds), retry_seconds);
      }
      vote_by_clock(Clock::now(),
                    stop_margin(record.seconds_iteration, output_->checkpoint_seconds()) +
                        seconds_evaluation_,
                    deadlines_, votes);
      votes.directory_lost = iteration() % config_.log.every == 0 && !directory_.owned();
    }
    world_.sum(votes.counts());
    if (votes.files_failed > 0) settle();
    if (votes.directory_lost > 0) {
      on_first_rank(world_, [&] { directory_.check_ownership(); });
    }
    return votes;
  }

  /// Collective. Waits for the files in flight. What was best is no more where its checkpoint could
  /// not be written: its states are gone.
  void settle() {
    output_->settle();
    if (output_->owed().checkpoint) bests_.forget(checkpoint_in_flight_);
  }

  /// Collective. Writes these files, and those that a failed write still owes.
  void write(Output::Kinds due) {
    if (!due.any()) return;
    settle();
    Output::Request request{.kinds = {due.draws || output_->owed().draws,
                                      due.checkpoint || output_->owed().checkpoint}};
    if (request.kinds.checkpoint) {
      request.progress = trainer().progress();
      learner_->guard().add_to(request.progress);
      request.texts = checkpoint_texts(config_, learner_->stage(), learner_->setup(),
                                       learner_->dataset().file_digest());
      bests_.add_to(request.progress, request.texts);
      request.keep = targets_.from(iteration());
      request.keep.merge(bests_.kept(request.keep));
      request.best = bests_.newest() && bests_.newest()->iteration == iteration();
      checkpoint_in_flight_ = iteration();
      deadlines_.last_checkpoint = Clock::now();
    }
    output_->write(trainer(), learner_->dataset(), request);
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
    settle();
    const CheckpointHeader target =
        find_target(world_, directory_.checkpoints(), targets_, now, file_options_);
    ++attempt_;
    on_first_rank(world_, [&] {
      verdict_.record().roll_back({attempt_, now, target.iteration, divergence.seen});
      reject_files(directory_, target.iteration, attempt_);
      iteration_log_.open(directory_.metrics(), target.iteration, target.iteration,
                          learner_->trainer().more_columns());
    });
    log_.warn(fmt::format(
        "{}; goes back to iteration {} with new noise and half the learning rate "
        "(attempt {} of {}); later files are in {}",
        seen, target.iteration, attempt_, config_.guard.attempts, directory_.rejected(attempt_)));
    output_->forget();
    bests_.go_back(target.iteration);
    take_up(&target, Sharding::same);
    on_first_rank(world_, [&] { verdict_.record().change_to(network_record()); });
  }

  // --- the end ----------------------------------------------------------------------------------

  /// Collective. Waits until all that is due is written.
  void finish_files() {
    settle();
    write(output_->owed());
    output_->wait();
  }

  ExitCode finish(ExitCode code, const std::string& asked_by) {
    finish_files();
    const std::vector<double> waited = iteration_log_.waited();
    on_first_rank(world_, [&] {
      remove_unfinished(directory_.checkpoints());
      remove_unfinished(directory_.samples());
      verdict_.record().waited(waited, iteration_log_.seconds());
      verdict_.record().stop({.iteration = iteration(), .code = code, .asked_by = asked_by});
      // Last: who finds it need do nothing more.
      if (code == ExitCode::finished) replace_file(directory_.done(), utc_now() + '\n');
    });
    iteration_log_.sum_up(run_.seconds_watched());
    log_.info(last_line(code, asked_by));
    return code;
  }

  std::string last_line(ExitCode code, const std::string& asked_by) const {
    if (code != ExitCode::finished) {
      return fmt::format(
          "stopped after iteration {}, asked by {}; the same command goes on from there",
          iteration(), asked_by);
    }
    if (iteration() <= config_.run.iterations) {
      return fmt::format("finished: {} iterations", iteration());
    }
    return fmt::format("nothing to do: {} iterations are done, and run.iterations is {}",
                       iteration(), config_.run.iterations);
  }

  Clock::time_point began_ = Clock::now();  // run.until counts from here
  const TrainingRequest& request_;
  Config config_;
  Session& session_;
  Communicator& world_;
  Log& log_;
  LivingRun run_;
  const RunDirectory& directory_ = run_.directory;
  Activity& activity_ = run_.activity;
  const FileOptions& file_options_ = run_.file_options;
  Verdict& verdict_ = run_.verdict;
  IterationLog iteration_log_;
  std::optional<BankEvaluation> evaluation_;
  Bests bests_;
  std::int64_t checkpoint_in_flight_ = -1;  // the iteration of the last one handed over
  double seconds_evaluation_ = 0;           // of the longest
  bool evaluation_later_told_ = false;
  std::optional<Learner> learner_;
  Deadlines deadlines_;        // rank 0
  std::uint32_t attempt_ = 0;  // roll-backs so far
  RollbackTargets targets_{.every = config_.checkpoint.every.value_or(0),
                           .probation = config_.guard.probation};
  std::optional<Output> output_;  // last: its thread uses what stands above
};

}  // namespace

ExitCode run_training(const TrainingRequest& request, Session& session, Log& log) {
  return Training(request, session, log).run();
}

}  // namespace stanley
