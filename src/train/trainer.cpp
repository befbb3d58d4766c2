#include "train/trainer.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "chains/start_states.hpp"
#include "chains/tensor_view.hpp"
#include "engines/factory.hpp"
#include "sampler/device_update.hpp"
#include "sampler/pieces.hpp"
#include "sampling/denoiser.hpp"

namespace stanley {
Trainer::Trainer(const Config& config, const Dataset& dataset, const TrainerContext& context,
                 std::uint32_t attempt)
    : config_(config),
      context_(context),
      attempt_(attempt),
      schedule_end_(config.run.iterations),
      shards_(deal_shards(config.chains.shards, context.communicator.rank(),
                          context.communicator.size())),
      network_(make_network_on_all(config, dataset.shape(), context.setup.energy_file.bytes,
                                   context.communicator)),
      optimizer_(config.optimizer, *network_, context.setup.torch_device),
      objective_(config, *network_, context.setup.precision, context.setup.torch_device),
      denoising_(config),
      dataset_(dataset),
      batches_(dataset, config, attempt),
      start_(make_start_state(config, dataset, attempt,
                              [&activity = context.activity] { activity.advance(); })),
      engine_(make_gradient_engine(*network_, config.energy, context.setup.precision,
                                   context.setup.torch_device, config.sampler.drift_correction)),
      transition_(make_piecewise_transition(
          {.most = engine_->largest_batch(),
           .group = fixed_batches() ? config.chains.active / config.chains.shards : 0},
          [&] {
            return make_transition(config.sampler,
                                   {config.run.seed, random::Stream::chain_noise, attempt},
                                   [&activity = context.activity] { activity.advance(); });
          })),
      bank_(config.chains, dataset.shape(), shards_, config.run.seed, attempt,
            context.setup.torch_device, transition_->memory(), network_->conditional()),
      parts_(at::zeros({gradient_parts(), optimizer_.size()}, optimizer_.values().options())),
      gradient_(at::zeros_like(optimizer_.values())) {
  load_weights();
}

void Trainer::begin() { bank_.start_all(start_); }

IterationRecord Trainer::iterate() {
  const std::int64_t steps = config_.sampler.steps;  // K
  const double restart_probability =
      config_.chains.restart_probability.at(iteration_, schedule_end_);
  Account account(config_, transition_->columns(), context_.activity, context_.setup.torch_device);

  account.enter("chains", &IterationRecord::seconds_chains);
  ChainBatch z = bank_.visit(iteration_, restart_probability, start_);  // z₀: the active chains
  account.chains_start(z.state);
  const CountedChains counted = count_after(steps);
  // K times z ← box(z − (α/2)·γ∘∇E(z) + σ·√γ∘ξ) with γ = th / max(th, |∇E|).
  account.chains_move(
      transition_->advance(*engine_, z, static_cast<std::uint64_t>(chain_steps_), steps));
  bank_.put_back(z, steps);
  const at::Tensor x = data_batch();  // box(data + noise), made while a GPU moves the chains

  account.enter("weight gradient", &IterationRecord::seconds_gradient);
  // This rank's share of the gradient of the loss, E(x) − E(z) + λ·[E(x)² + E(z)²] in the mean.
  objective_.load();
  const WeightedStates pairs = denoising_pairs(account);
  const EnergySums energies = objective_.add_up(x, z.state, counted, pairs, parts_);
  account.energies(energies, counted.all, energy_of_noise());
  // Where the run is to end must not change what is recorded on the way.
  if ((iteration_ + 1) % config_.log.every == 0) {
    const std::int64_t elements = x.numel() / x.size(0);
    account.data_gradients(data_gradients(x),
                           static_cast<double>(data_probes() * shards_.total * elements));
  }

  account.enter("reduction", &IterationRecord::seconds_reduction);
  context_.reducer.reduce(values_of<float>(parts_), values_of<float>(gradient_));
  account.summarize(z.state, bank_.visited_ages(), bank_.restarts_in_visit(),
                    context_.communicator);

  account.enter("weight update", &IterationRecord::seconds_gradient);
  const double gradient_norm =
      optimizer_.update(gradient_, iteration_ - stage_began_, rate_factor());
  const double parameter_norm = optimizer_.parameter_norm();
  network_->update_buffers();
  load_weights();

  IterationRecord record = account.close(iteration_ + 1);
  record.gradient_norm = gradient_norm;
  record.parameter_norm = parameter_norm;
  record.restart_probability = restart_probability;
  record.learning_rate = config_.optimizer.learning_rate * rate_factor();
  record.gap_autocorrelation = gap_.add(record.gap);
  ++iteration_;
  chain_steps_ += config_.sampler.steps;
  samples_seen_ += config_.data.batch;
  return record;
}

CountedChains Trainer::count_after(std::int64_t steps) const {
  std::vector<std::int64_t> ages = bank_.visited_ages();
  for (std::int64_t& age : ages) age += steps;
  return count_chains(ages, config_.chains, context_.communicator, context_.setup.torch_device);
}

double Trainer::rate_factor() const {
  return std::ldexp(config_.optimizer.schedule.factor(iteration_, schedule_end_),
                    -static_cast<int>(attempt_));
}

double Trainer::energy_of_noise() const {
  const c10::NoGradGuard no_gradient;
  const auto weights = network_->weights(network_->parameter_values());
  const auto range = config_.sampler.box.value_or(config_.data.range);
  // With reproducible numbers every batch has the same shape whatever the number of ranks.
  const std::int64_t parts = gradient_parts();
  const std::int64_t count = noise_probes_per_shard * shards_.count / parts;
  double sum = 0;
  for (std::int64_t part = 0; part < parts; ++part) {
    const ChainBatch probes =
        zero_chains(noise_probes_per_shard * shards_.first + part * count, count,
                    network_->state_shape(), context_.setup.torch_device);
    fill_uniform({config_.run.seed, random::Stream::noise_probe, attempt_},
                 static_cast<std::uint64_t>(iteration_), static_cast<float>(range[0]),
                 static_cast<float>(range[1]), probes);
    sum += network_->forward(probes.state, weights).to(at::kCPU, at::kDouble).sum().item<double>();
  }
  return sum;
}

std::int64_t Trainer::data_probes() const {
  return std::min(data_probes_per_shard, data_per_shard());
}

double Trainer::data_gradients(const at::Tensor& data) const {
  const c10::NoGradGuard no_gradient;
  const at::Tensor probes =
      data.unflatten(0, {shards_.count, -1}).narrow(1, 0, data_probes()).flatten(0, 1);
  return gradients_of(*engine_, probes, pieces_of(data_probes()))
      .to(at::kDouble)
      .square()
      .sum()
      .item<double>();
}

bool Trainer::fixed_batches() const {
  return config_.run.reproducible && !engine_->batch_invariant();
}

std::int64_t Trainer::gradient_parts() const {
  return config_.run.reproducible ? shards_.count : 1;
}

WorkingThreads Trainer::working_threads() const {
  const std::int64_t chains = bank_.active_per_shard() * shards_.count,
                     data = data_per_shard() * shards_.count,
                     states = chains + data + (denoising_.used() ? 2 * data : 0);
  return {chains, states, engine_->working_threads(chains),
          objective_.working_threads(gradient_parts(), states)};
}

at::Tensor Trainer::room_for_data() const {
  std::vector<std::int64_t> shape{data_per_shard() * shards_.count};
  shape.insert(shape.end(), network_->state_shape().begin(), network_->state_shape().end());
  return at::empty(shape, at::kFloat);
}

at::Tensor Trainer::data_batch() const {
  at::Tensor data = room_for_data();
  batches_.fill(iteration_, samples_seen_, data_per_shard() * shards_.first, data.size(0),
                data.mutable_data_ptr<float>());
  return data.to(context_.setup.torch_device);
}

WeightedStates Trainer::denoising_pairs(Account& account) const {
  if (!denoising_.used()) return {};
  const std::int64_t first = data_per_shard() * shards_.first;
  NoisedSamples samples{room_for_data(), room_for_data(), {}};
  samples.deviations = denoising_.deviations(first, samples.clean.size(0));
  batches_.fill_noised(iteration_, samples_seen_, first, samples.deviations,
                       samples.clean.mutable_data_ptr<float>(),
                       samples.noised.mutable_data_ptr<float>());
  samples.clean = samples.clean.to(context_.setup.torch_device);
  samples.noised = samples.noised.to(context_.setup.torch_device);
  NoiseSquares squares;
  WeightedStates pairs = denoising_.pairs(*engine_, samples, pieces_of(data_per_shard()), squares);
  account.denoising(squares);
  return pairs;
}

Pieces Trainer::pieces_of(std::int64_t per_shard) const {
  return {.most = engine_->largest_batch(), .group = fixed_batches() ? per_shard : 0};
}

std::vector<std::string> Trainer::more_columns() const {
  std::vector<std::string> names;
  for (const Column& column : transition_->columns()) {
    if (!column.name.empty()) names.push_back(column.name);
  }
  return stanley::more_columns(names);
}

void Trainer::load_weights() {
  const c10::NoGradGuard no_gradient;
  engine_->load(network_->weights(network_->parameter_values()));
}

DrawnStates Trainer::draws(std::int64_t count) { return draws({bank_.chains(count)}); }

DrawnStates Trainer::draws(const std::vector<ChainBatch>& groups) {
  const std::int64_t active = bank_.active_per_shard() * shards_.count;
  const std::int64_t room = states_at_once(active, bank_.state().numel() / bank_.local_count(),
                                           context_.setup.torch_device);
  const Pieces pieces{.most = std::min(room, engine_->largest_batch()),
                      .group = fixed_batches() ? bank_.chains_per_shard() : 0};
  DrawnStates draws;
  Denoiser denoiser(config_);
  if (denoiser.fitted()) {
    draws.refused =
        denoiser.fit(*engine_, dataset_, pieces.most, context_.setup.torch_device).value_or("");
  }
  draws.denoised = denoiser.text();
  std::vector<at::Tensor> states, energies;
  for (const ChainBatch& group : groups) {
    auto [its_states, its_energies] = denoiser.draws(*engine_, group, pieces);
    states.push_back(std::move(its_states));
    energies.push_back(std::move(its_energies));
  }
  draws.states = groups.size() == 1 ? states.front() : at::cat(states);
  draws.energies = groups.size() == 1 ? energies.front() : at::cat(energies);
  return draws;
}

}  // namespace stanley
