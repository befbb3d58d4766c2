#include "measure/training_benchmark.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <vector>

#include "parallel/agree.hpp"
#include "run/stopwatch.hpp"
#include "run/usage.hpp"
#include "sampling/setup.hpp"
#include "storage/checkpoint.hpp"
#include "train/trainer.hpp"

namespace stanley {
namespace {

/// Robust against the few iterations that something else on the machine disturbed.
double relative_deviation(std::vector<double> values) {
  const auto median = [](std::vector<double>& numbers) {
    const auto middle = numbers.begin() + static_cast<std::ptrdiff_t>(numbers.size() / 2);
    std::nth_element(numbers.begin(), middle, numbers.end());
    return *middle;
  };
  const double centre = median(values);
  for (double& value : values) value = std::abs(value - centre);
  return 1.4826 * median(values) / centre;  // of normal numbers: their standard deviation
}

/// Collective. Iterates and fills what belongs to iterations.
void measure_iterations(Trainer& trainer, Session& session, TrainingMeasure& result) {
  Communicator& world = session.world();
  NodeEnergy energy;
  std::vector<double> work;
  world.barrier();
  Stopwatch total;
  for (std::int64_t i = 0; i < result.iterations; ++i) {
    const IterationRecord record = trainer.iterate();
    result.chains += record.seconds_chains;
    result.gradient += record.seconds_gradient;
    result.reduction += record.seconds_reduction;
    result.waiting += record.seconds_waiting;
    work.push_back(record.seconds_chains + record.seconds_gradient);
  }
  world.barrier();
  const auto count = static_cast<double>(result.iterations);
  result.seconds = world.max(total.lap()) / count;
  result.jitter = relative_deviation(work) * count;
  for (double* sum :
       {&result.chains, &result.gradient, &result.reduction, &result.waiting, &result.jitter}) {
    world.sum(std::span<double>(sum, 1));
    *sum /= count * static_cast<double>(world.size());
  }
  // One rank of each node reads its counters; a node without them spoils the sum.
  const bool reads = session.local_rank() == 0;
  const std::optional<double> joules = reads ? energy.joules() : std::nullopt;
  double nodes[2] = {joules.value_or(0), reads && !joules ? 1.0 : 0.0};
  world.sum(std::span<double>(nodes));
  if (nodes[1] == 0) result.joules = nodes[0] / count;
}

/// Collective. Writes a checkpoint as a training does, and removes it.
void measure_checkpoint(Trainer& trainer, const std::string& directory, Communicator& world,
                        TrainingMeasure& result) {
  const std::string folder =
      world.broadcast(fmt::format("{}/benchmark-{}", directory,
                                  std::chrono::system_clock::now().time_since_epoch().count()),
                      0);
  on_first_rank(world, [&] {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) {
      throw Error(ExitCode::input_output,
                  fmt::format("{} can't be made ({}): name a folder for the benchmark's checkpoint "
                              "with --directory",
                              folder, error.message()));
    }
  });
  Snapshot snapshot;
  snapshot.take(trainer.arrays());  // the first one also gets its memory
  Stopwatch watch;
  snapshot.take(trainer.arrays());
  result.copy_seconds = world.max(watch.lap());
  const CheckpointContents contents{.iteration = trainer.iteration(),
                                    .arrays = snapshot.arrays(),
                                    .progress = trainer.progress()};
  const CommitReport report = write_checkpoint(world, folder, contents, {});
  result.checkpoint_bytes = static_cast<double>(report.bytes);
  for (const ArrayView& array : snapshot.arrays()) {
    if (array.shards == 0) result.checkpoint_fixed_bytes += static_cast<double>(local_bytes(array));
  }
  result.checkpoint_seconds = world.max(report.seconds);
  world.barrier();
  std::error_code ignored;
  if (world.rank() == 0) std::filesystem::remove_all(folder, ignored);
}

/// Iterations from checkpoint to checkpoint.
double checkpoint_period(const Config& config, double iteration_seconds) {
  double period = static_cast<double>(config.checkpoint.every.value_or(0));
  if (!config.checkpoint.seconds) return period;
  const double by_time = std::max(1.0, *config.checkpoint.seconds / iteration_seconds);
  return period > 0 ? std::min(period, by_time) : by_time;
}

}  // namespace

TrainingMeasure measure_training(const Config& config, const Dataset& dataset, std::int64_t warmup,
                                 std::int64_t iterations, const std::string& directory,
                                 Session& session) {
  const ComputeSetup setup = set_up(config, session);
  const auto reducer = reducer_for(config, setup, session);
  Activity activity;
  Trainer trainer(config, dataset, {session.world(), *reducer, setup, activity});
  trainer.begin();
  for (std::int64_t i = 0; i < warmup; ++i) trainer.iterate();
  TrainingMeasure result{.warmup = warmup, .iterations = iterations};
  measure_iterations(trainer, session, result);
  if (!directory.empty()) {
    measure_checkpoint(trainer, directory, session.world(), result);
    result.checkpoint_every = checkpoint_period(config, result.seconds);
  }
  if (result.checkpoint_every > 0) {
    const double late = result.checkpoint_seconds - result.checkpoint_every * result.seconds;
    result.files = (result.copy_seconds + std::max(0.0, late)) / result.checkpoint_every;
    result.seconds += result.files;
  }
  result.chain_steps_per_second = static_cast<double>(config.chains.active) *
                                  static_cast<double>(config.sampler.steps) / result.seconds;
  result.memory = session.world().max(peak_memory());
  return result;
}

}  // namespace stanley
