#include "measure/benchmark.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "energy/operation_times.hpp"
#include "engines/factory.hpp"
#include "kernels/loop_threads.hpp"
#include "parallel/device.hpp"
#include "parallel/shards.hpp"
#include "run/stopwatch.hpp"
#include "sampler/device_update.hpp"
#include "sampling/setup.hpp"
#include "train/denoising.hpp"
#include "train/objective.hpp"
#include "train/optimizer.hpp"

namespace stanley {
namespace {

/// One thread for LibTorch and for our own loops while it lives.
class OneThread {
 public:
  OneThread() : before_(at::get_num_threads()) { at::set_num_threads(1); }
  ~OneThread() { at::set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
  LoopThreads own_{1};
};

/// The parts of an iteration on one rank, each on states of its own.
class Parts {
 public:
  Parts(const Config& config, const StateShape& shape, Session& session)
      : config_(config),
        shape_(shape),
        world_(session.world()),
        setup_(set_up(config, session)),
        network_(make_network_on_all(config, shape, setup_.energy_file.bytes, world_)),
        optimizer_(config.optimizer, *network_, setup_.torch_device),
        engine_(make_gradient_engine(*network_, config.energy, setup_.precision,
                                     setup_.torch_device, config.sampler.drift_correction)),
        transition_(make_transition(config.sampler, {config.run.seed})),
        objective_(config, *network_, setup_.precision, setup_.torch_device),
        reducer_(reducer_for(config, setup_, session)),
        gradient_(at::zeros({optimizer_.size()}, floats())),
        shards_(deal_shards(config.chains.shards, session.rank(), session.size()).count) {
    load_weights();
  }

  /// How they are computed.
  BenchmarkResult describe() const {
    return {.ranks = world_.size(),
            .threads = setup_.threads,
            .device = to_string(setup_.device),
            .precision = to_string(setup_.precision),
            .engine = engine_->description(),
            .reducer = reducer_->description(),
            .reduction_bytes = static_cast<double>(gradient_.nbytes())};
  }
  std::optional<double> forward_flops() const { return network_->forward_flops(); }

  /// Collective, as all that follows. The energy's gradient at `count` states.
  double gradient_seconds(std::int64_t count, double budget) {
    const ChainBatch chains = states(count, 0);
    at::Tensor energy = at::empty({count}, floats().dtype(at::kDouble)),
               drift = at::empty_like(chains.state);
    return median_seconds(budget, [&] { engine_->evaluate(chains.points(), energy, &drift); });
  }

  /// All K steps of `count` chains.
  double chain_seconds(std::int64_t count, double budget) {
    ChainBatch chains = states(count, 0);
    return median_seconds(
        budget, [&] { transition_->advance(*engine_, chains, 0, config_.sampler.steps); });
  }

  /// The weights' gradient from so many chains and samples, in as many parts as a training makes of
  /// them, and the update.
  double weight_seconds(std::int64_t count, std::int64_t batch, double budget) {
    const ChainBatch chains = states(count, 0), data = states(batch, 1);
    const std::int64_t shards =
        config_.run.reproducible ? std::gcd(shards_, std::gcd(count, batch)) : 1;
    at::Tensor parts = at::zeros({shards, optimizer_.size()}, floats());
    const CountedChains counted =
        CountedChains::every_one(count, static_cast<double>(count), chains.state.device());
    const Pieces pieces{.most = engine_->largest_batch()};
    const DenoisingTerm denoising(config_);
    const NoisedSamples samples{data.state, states(batch, 2).state, denoising.deviations(0, batch)};
    return median_seconds(budget, [&] {
      objective_.load();
      NoiseSquares squares;
      WeightedStates others;
      if (denoising.used()) others = denoising.pairs(*engine_, samples, pieces, squares);
      objective_.add_up(data.state, chains.state, counted, others, parts);
      optimizer_.update(gradient_, iteration_++, 1e-6);
      load_weights();
    });
  }

  /// Of the gradient over the ranks, of which this one has `parts`.
  double reduction_seconds(std::int64_t parts, double budget) {
    at::Tensor sent = at::zeros({parts, optimizer_.size()}, floats());
    const std::span<float> total{gradient_.mutable_data_ptr<float>(),
                                 static_cast<std::size_t>(gradient_.numel())};
    const std::span<const float> mine{sent.const_data_ptr<float>(),
                                      static_cast<std::size_t>(sent.numel())};
    return median_seconds(budget, [&] { reducer_->reduce(mine, total); });
  }

  /// A chain step's time by operation, and what the GPU, or one thread of this machine, can do.
  void time_operations(std::int64_t count, double budget, BenchmarkResult& result) {
    if (setup_.torch_device.is_cpu()) {
      const OneThread one;
      time_host_operations(count, budget, result);
      measure_limits(1024, at::kFloat, budget, result);
    } else {
      result.peak_memory = peak_memory(setup_.torch_device);  // without what comes now
      measure_limits(8192, setup_.precision == Precision::bfloat16 ? at::kBFloat16 : at::kFloat,
                     budget, result);
      time_gpu_operations(count, result);
    }
  }

 private:
  /// Collective. Median seconds of a call that all ranks make together, after one call to warm up.
  double median_seconds(double budget, const std::function<void()>& work) const {
    const auto call = [&] {
      work();
      wait_for(setup_.torch_device);
    };
    call();
    std::vector<double> seconds;
    Stopwatch total;
    for (double passed = 0; passed < budget || seconds.size() < 3;
         passed += world_.max(total.lap())) {
      world_.barrier();
      Stopwatch watch;
      call();
      seconds.push_back(world_.max(watch.lap()));
    }
    const auto middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
    std::nth_element(seconds.begin(), middle, seconds.end());
    return *middle;
  }

  void time_host_operations(std::int64_t count, double budget, BenchmarkResult& result) {
    ChainBatch chains = states(count, 0);
    std::int64_t steps = 0;
    const auto advance = [&] {
      transition_->advance(*engine_, chains, 0, config_.sampler.steps);
      steps += config_.sampler.steps;
    };
    const OperationTimes times;
    const double step =
        median_seconds(budget, advance) / static_cast<double>(config_.sampler.steps);
    report(times, steps, step, result);
  }

  /// The first call of a transition records no graph, in which operations could not be told apart.
  void time_gpu_operations(std::int64_t count, BenchmarkResult& result) {
    ChainBatch chains = states(count, 0);
    const auto advance = [&] {
      make_transition(config_.sampler, {config_.run.seed})
          ->advance(*engine_, chains, 0, config_.sampler.steps);
    };
    advance();
    wait_for(setup_.torch_device);
    // The GPU is kept busy until all is queued: it would wait for the host between operations.
    const at::Tensor matrix = at::rand({8192, 8192}, floats());
    for (int i = 0; i < 4; ++i) at::mm(matrix, matrix);
    OperationTimes times(true);
    advance();
    times.finish();
    report(times, config_.sampler.steps, 1e-3 * result.milliseconds_per_step, result);
  }

  /// `times` are of so many steps, of `step` seconds each.
  static void report(const OperationTimes& times, std::int64_t steps, double step,
                     BenchmarkResult& result) {
    double known = 0;
    for (std::size_t i = 0; i < operation_count; ++i) {
      const auto operation = static_cast<Operation>(i);
      const double seconds = times.seconds(operation) / static_cast<double>(steps);
      if (seconds == 0) continue;
      known += seconds;
      result.operations.push_back({to_string(operation), 1e3 * seconds,
                                   times.flops(operation) / times.seconds(operation) / 1e9});
    }
    result.operations.push_back({"rest", 1e3 * std::max(0.0, step - known)});
    result.update_share = (times.seconds(Operation::gain) + times.seconds(Operation::update)) /
                          (step * static_cast<double>(steps));
    result.operations_milliseconds = 1e3 * std::max(step, known);
  }

  /// By a product of matrices side × side and a copy of 128 MB.
  void measure_limits(std::int64_t side, at::ScalarType type, double budget,
                      BenchmarkResult& result) {
    const at::Tensor matrix = at::rand({side, side}, floats()).to(type);
    const at::Tensor large = at::rand({32 << 20}, floats());
    at::Tensor product = at::empty_like(matrix), copy = at::empty_like(large);
    result.peak_gflops = 2e-9 * std::pow(static_cast<double>(side), 3) /
                         median_seconds(budget / 4, [&] { at::mm_out(product, matrix, matrix); });
    result.copy_gbytes = 2e-9 * static_cast<double>(large.nbytes()) /
                         median_seconds(budget / 4, [&] { copy.copy_(large); });
  }

  at::TensorOptions floats() const {
    return at::TensorOptions(at::kFloat).device(setup_.torch_device);
  }

  ChainBatch states(std::int64_t count, std::uint64_t step) const {
    ChainBatch batch = zero_chains(0, count, shape_, setup_.torch_device);
    fill_uniform({config_.run.seed}, step, -1, 1, batch);
    batch.memory = start_memory(transition_->memory(), batch.state);
    return batch;
  }

  void load_weights() {
    const c10::NoGradGuard no_gradient;
    engine_->load(network_->weights(network_->parameter_values()));
  }

  const Config& config_;
  const StateShape& shape_;
  Communicator& world_;
  ComputeSetup setup_;
  std::unique_ptr<Network> network_;
  Optimizer optimizer_;
  std::unique_ptr<GradientEngine> engine_;
  std::unique_ptr<Transition> transition_;
  ContrastiveObjective objective_;
  std::unique_ptr<Reducer> reducer_;
  at::Tensor gradient_;
  std::int64_t shards_;  // this rank's
  std::int64_t iteration_ = 0;
};

}  // namespace

BenchmarkResult run_benchmark(const Config& config, const StateShape& shape, double seconds,
                              Session& session) {
  Parts parts(config, shape, session);
  const Shards shards = deal_shards(config.chains.shards, session.rank(), session.size());
  const std::int64_t count = config.chains.active / config.chains.shards * shards.count;
  const std::int64_t batch = config.data.batch / config.chains.shards * shards.count;
  const double gradient_only = parts.gradient_seconds(count, seconds / 4);
  const double chain_time = parts.chain_seconds(count, seconds / 4);
  const double weights = parts.weight_seconds(count, batch, seconds / 4);
  const double reduction =
      parts.reduction_seconds(config.run.reproducible ? shards.count : 1, seconds / 4);
  const double step = chain_time / static_cast<double>(config.sampler.steps);

  BenchmarkResult result = parts.describe();
  result.chain_steps_per_second = static_cast<double>(config.chains.active) / step;
  result.chain_steps_per_second_per_rank = static_cast<double>(count) / step;
  result.milliseconds_per_step = 1e3 * step;
  // Backward through the state costs what forward costs.
  if (const auto flops = parts.forward_flops()) {
    result.gflops = 2 * *flops * static_cast<double>(count) / gradient_only / 1e9;
  }
  result.update_share = std::max(0.0, 1 - gradient_only / step);
  result.iteration_seconds = chain_time + weights + reduction;
  result.chains_share = chain_time / result.iteration_seconds;
  result.gradient_share = weights / result.iteration_seconds;
  result.reduction_share = reduction / result.iteration_seconds;
  result.reduction_seconds = reduction;
  parts.time_operations(count, seconds / 8, result);
  return result;
}

std::int64_t finest_shards(const Config& config) {
  return std::gcd(std::gcd(config.chains.total, config.chains.active), config.data.batch);
}

std::vector<WorkPoint> measure_work(const Config& config, const StateShape& shape, double seconds,
                                    Session& session) {
  Parts parts(config, shape, session);
  const std::int64_t finest = finest_shards(config);
  std::vector<std::int64_t> sizes;  // in finest shards
  for (std::int64_t size = 1; size < finest; size *= 4) sizes.push_back(size);
  sizes.push_back(finest);
  const double budget = seconds / static_cast<double>(2 * sizes.size());
  std::vector<WorkPoint> work;
  for (const std::int64_t size : sizes) {
    const std::int64_t chains = config.chains.active / finest * size;
    work.push_back({chains, parts.chain_seconds(chains, budget),
                    parts.weight_seconds(chains, config.data.batch / finest * size, budget)});
  }
  return work;
}

}  // namespace stanley
