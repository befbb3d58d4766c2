#include "measure/dry_run.hpp"

#include <fmt/format.h>

#include "config/stages.hpp"
#include "parallel/device.hpp"
#include "run/stopwatch.hpp"
#include "run/usage.hpp"
#include "sampler/device_update.hpp"
#include "storage/checkpoint.hpp"
#include "train/bank_draws.hpp"
#include "train/bank_evaluation.hpp"
#include "train/learner.hpp"
#include "train/stage_end.hpp"

namespace stanley {
namespace {

constexpr double megabyte = 1e6;

/// Bytes of all arrays, over all ranks.
double checkpoint_bytes(const std::vector<ArrayView>& arrays) {
  double bytes = 0;
  for (const ArrayView& array : arrays) {
    bytes += static_cast<double>(row_bytes(array.type, array.shape)) *
             static_cast<double>(row_count(array.shape));
  }
  return bytes;
}

/// What the writer will hold on this rank: copies of the arrays and of the draws, and what it reads
/// back.
double writer_bytes(Trainer& trainer, const Config& config) {
  const std::vector<ArrayView> arrays = trainer.arrays();
  std::size_t bytes = writing_bytes(arrays) + BankDraws::bytes(trainer.bank(), config);
  for (const ArrayView& array : arrays) bytes += local_bytes(array);
  return static_cast<double>(bytes);
}

/// Draw files: of iteration 0 and of the last one too.
std::int64_t draw_files(const std::optional<std::int64_t>& every, std::int64_t iterations) {
  return every ? iterations / *every + 2 : 0;
}

void say_disk(const Config& config, const Dataset& dataset, double checkpoint, Log& log) {
  const std::int64_t iterations = config.run.iterations;
  // Iteration 0 and one that is being written stand beside those that are kept.
  std::int64_t kept = config.checkpoint.keep_last + 2;
  // The best, and what was best when the run passed one that it may go back to.
  if (config.evaluation.every) kept += 2;
  if (config.checkpoint.keep_every) kept += iterations / *config.checkpoint.keep_every;
  // Beside each state its statistics and its chain's number, 8 bytes each; 256 data samples.
  constexpr double beside = 6 * 8;
  const auto state = static_cast<double>(dataset.dimension()) * sizeof(float);
  const double draws =
      static_cast<double>(draw_files(config.samples.every, iterations)) *
      (static_cast<double>(config.samples.chains.value_or(config.chains.total)) * (state + beside) +
       256 * state);
  log.info(fmt::format(
      "disk: {:.1f} MB (checkpoints of {:.1f} MB, at most {} at a time; draws "
      "{:.1f} MB; metrics {:.1f} MB)",
      (checkpoint * static_cast<double>(kept) + draws) / megabyte +
          0.0006 * static_cast<double>(iterations),
      checkpoint / megabyte, kept, draws / megabyte, 0.0006 * static_cast<double>(iterations)));
}

/// Collective. `iteration`: what one takes, s.
void say_evaluation(const Config& config, double iteration, Trainer& trainer, Session& session,
                    Log& log, Activity& activity) {
  if (!config.evaluation.every) return;
  BankEvaluation evaluation(config, session, log, activity);
  evaluation.features_of(trainer);  // the first time also allocates
  Stopwatch watch;
  evaluation.features_of(trainer);
  const double seconds = watch.lap();
  const double between = iteration * static_cast<double>(*config.evaluation.every);
  log.info(fmt::format(
      "evaluation: {:.3g} s for the features of {} chains, {:.1f} % of the time if "
      "made each {} iterations (measured now)",
      seconds, evaluation.chains(), 100 * seconds / (seconds + between), *config.evaluation.every));
}

void say_sampler(const Config& config, Log& log) {
  const SamplerConfig& sampler = config.sampler;
  log.info(fmt::format("temperature T = noise^2/step_size = {:.3g}, noise {:.3g}",
                       sampler.temperature_value(), noise_scale(sampler)));
  if (sampler.type == TransitionType::stanley && sampler.threshold.value) {
    log.info(fmt::format(
        "reach K*step_size*th/2 = {:.3g}: how far the drift can move a chain in one visit where "
        "the gain acts{}",
        static_cast<double>(sampler.steps) * sampler.step_size * *sampler.threshold.value / 2,
        sampler.box ? fmt::format("; the box is {:.3g} wide", (*sampler.box)[1] - (*sampler.box)[0])
                    : ""));
  }
}

/// Collective. What an iteration of the learner, which is new, takes, s.
double seconds_of_iteration(Learner& learner) {
  learner.take_up(nullptr, Sharding::same, 0, {});
  learner.trainer().iterate();  // the first one also allocates
  return learner.trainer().iterate().seconds_iteration;
}

std::string duration_of_stage(const Config& config, std::size_t stage, double iteration) {
  const std::int64_t count = iterations_of(config, stage);
  return fmt::format("{:.3f} s for one iteration, about {} for {}", iteration,
                     duration_text(iteration * static_cast<double>(count)), count);
}

/// Collective. Tries the stages before the last, of which nothing stays, and tells what each takes;
/// their iterations' time in all, s.
double try_stages_before_last(const Config& config, Session& session, Log& log,
                              Activity& activity) {
  check_stages_fit(config, session.world());
  double total = 0;
  for (std::size_t stage = 0; stage + 1 < stage_count(config); ++stage) {
    const Config of_stage = stage_config(config, stage);
    Learner learner(of_stage, {}, session, activity);
    const double seconds = seconds_of_iteration(learner);
    total += seconds * static_cast<double>(iterations_of(config, stage));
    log.info(fmt::format("{}, {} parameters: {}", stage_text(config, stage),
                         learner.trainer().parameter_count(),
                         duration_of_stage(config, stage, seconds)));
  }
  return total;
}

}  // namespace

ExitCode dry_run(const TrainingRequest& request, Session& session, Log& log) {
  Activity activity;
  const double before = try_stages_before_last(request.config, session, log, activity);
  const Config config = last_stage(request.config);
  Learner learner(config, {}, session, activity);
  const double seconds = seconds_of_iteration(learner);
  const ComputeSetup& setup = learner.setup();
  const Dataset& dataset = learner.dataset();
  Trainer& trainer = learner.trainer();
  log.info("resolved configuration:\n" + to_yaml(request.config));
  say_evaluation(config, seconds, trainer, session, log, activity);
  const double memory =
      session.world().max(peak_memory() + writer_bytes(trainer, config)) / megabyte;

  log.info(topology_table(session, setup.device, setup.threads));
  log.info(fmt::format("data: {} samples, run directory: {}", dataset.size(), request.directory));
  say_sampler(config, log);
  log.info(fmt::format("chains' gradient by {}, sums by {}", trainer.engine().description(),
                       learner.reducer().description()));
  const std::string idle = idle_threads(config, setup, trainer.working_threads());
  if (!idle.empty()) log.warn(idle);
  log.info(
      fmt::format("memory: {:.0f} MB per rank, with the copies for the writer of files", memory));
  if (const auto on_gpu = peak_memory(setup.torch_device)) {
    log.info(fmt::format("memory on the GPU: {:.0f} MB per rank",
                         session.world().max(*on_gpu) / megabyte));
  }
  say_disk(config, dataset, checkpoint_bytes(trainer.arrays()), log);
  const std::size_t last = stage_count(request.config) - 1;
  const std::string text = duration_of_stage(request.config, last, seconds);
  if (last == 0) {
    log.info(fmt::format("time: {} (measured now)", text));
  } else {
    log.info(fmt::format("{}, {} parameters: {}", stage_text(request.config, last),
                         trainer.parameter_count(), text));
    const double total =
        before + seconds * static_cast<double>(iterations_of(request.config, last));
    log.info(fmt::format("time: about {} for all stages (measured now)", duration_text(total)));
  }
  return ExitCode::finished;
}

}  // namespace stanley
