#include "train/benchmark.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "parallel/shards.hpp"
#include "parallel/topology.hpp"
#include "sampler/device_update.hpp"
#include "train/objective.hpp"
#include "train/optimizer.hpp"
#include "train/setup.hpp"

namespace stanley {
namespace {

/// Collective. Median seconds of a call that all ranks make together, after one call to warm up.
double median_seconds(Communicator& world, at::Device device, double budget,
                      const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  const auto call = [&] {
    work();
    wait_for(device);
  };
  call();
  std::vector<double> seconds;
  const auto began = Clock::now();
  for (;;) {
    world.barrier();
    const auto start = Clock::now();
    call();
    seconds.push_back(world.max(std::chrono::duration<double>(Clock::now() - start).count()));
    const double passed = world.max(std::chrono::duration<double>(Clock::now() - began).count());
    if (passed >= budget && seconds.size() >= 3) break;
  }
  std::nth_element(seconds.begin(),
                   seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2),
                   seconds.end());
  return seconds[seconds.size() / 2];
}

}  // namespace

BenchmarkResult run_benchmark(const Config& config, const StateShape& shape, double seconds,
                              Session& session) {
  const ComputeSetup setup = set_up(config, session);
  const Shards shards = deal_shards(config.chains.shards, session.rank(), session.size());
  const std::int64_t count = config.chains.active / config.chains.shards * shards.count;
  const std::int64_t batch = config.data.batch / config.chains.shards * shards.count;
  const auto options = at::TensorOptions(at::kFloat).device(setup.torch_device);
  std::vector<std::int64_t> states{count}, samples{batch};
  states.insert(states.end(), shape.begin(), shape.end());
  samples.insert(samples.end(), shape.begin(), shape.end());

  const auto network = make_network(config.energy, shape, config.run.seed);
  Optimizer optimizer(config.optimizer, *network, setup.torch_device);
  const auto engine =
      make_gradient_engine(*network, config.energy, setup.precision, setup.torch_device);
  engine->load(network->weights(network->parameter_values()));
  const auto transition = make_transition(config.sampler, {config.run.seed});
  const ContrastiveObjective objective(config, *network);
  const auto reducer = reducer_for(config, setup, session);

  ChainBatch chains{at::zeros(states, options),
                    at::arange(count, at::TensorOptions(at::kLong).device(setup.torch_device))};
  ChainBatch data{at::zeros(samples, options),
                  at::arange(batch, at::TensorOptions(at::kLong).device(setup.torch_device))};
  fill_uniform({config.run.seed}, 0, -1, 1, chains);
  fill_uniform({config.run.seed}, 1, -1, 1, data);
  at::Tensor gradient = at::zeros({optimizer.size()}, options);
  at::Tensor energy = at::empty({count}, options), drift = at::empty_like(chains.state);
  const std::span<float> message{gradient.mutable_data_ptr<float>(),
                                 static_cast<std::size_t>(gradient.numel())};

  Communicator& world = session.world();
  const std::int64_t steps = config.sampler.steps;
  const double gradient_only = median_seconds(world, setup.torch_device, seconds / 4, [&] {
    engine->evaluate(chains.state, energy, drift);
  });
  const double step = median_seconds(world, setup.torch_device, seconds / 4,
                                     [&] { transition->advance(*engine, chains, 0, steps); }) /
                      static_cast<double>(steps);
  std::int64_t iteration = 0;
  const double weights = median_seconds(world, setup.torch_device, seconds / 4, [&] {
    objective.add_up(data.state, chains.state, gradient);
    optimizer.update(gradient, iteration++, 1e-6);
    const c10::NoGradGuard no_gradient;
    engine->load(network->weights(network->parameter_values()));
  });
  const double reduction = median_seconds(world, setup.torch_device, seconds / 4,
                                          [&] { reducer->reduce(message, message); });

  BenchmarkResult result;
  result.ranks = session.size();
  result.threads = setup.threads;
  result.device = to_string(setup.device);
  result.precision = to_string(setup.precision);
  result.engine = engine->description();
  result.chain_steps_per_second = static_cast<double>(config.chains.active) / step;
  result.chain_steps_per_second_per_rank = static_cast<double>(count) / step;
  result.milliseconds_per_step = 1e3 * step;
  // Backward through the state costs what forward costs.
  result.gflops = 2 * network->forward_flops() * static_cast<double>(count) / gradient_only / 1e9;
  result.update_share = std::max(0.0, 1 - gradient_only / step);
  const double chain_time = step * static_cast<double>(config.sampler.steps);
  result.iteration_seconds = chain_time + weights + reduction;
  result.chains_share = chain_time / result.iteration_seconds;
  result.gradient_share = weights / result.iteration_seconds;
  result.reduction_share = reduction / result.iteration_seconds;
  return result;
}

}  // namespace stanley
