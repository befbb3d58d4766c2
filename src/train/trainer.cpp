#include "train/trainer.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "config/schedule.hpp"
#include "run/stopwatch.hpp"
#include "sampler/device_update.hpp"
#include "sampler/pieces.hpp"
#include "train/setup.hpp"
#include "train/start_states.hpp"

namespace stanley {
namespace {

/// Probes of the energy of plain noise, for each shard: enough for a curve, too few to cost.
constexpr std::int64_t noise_probes_per_shard = 4;

std::span<float> span_of(at::Tensor& tensor) {
  return {tensor.mutable_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

/// Lets the view show all of a float32 tensor, on whatever device.
ArrayView showing(const at::Tensor& tensor, ArrayView view) {
  if (tensor.is_cpu()) {
    view.data = tensor.mutable_data_ptr<float>();
    return view;
  }
  view.copy_out = [tensor](void* to) {
    at::from_blob(to, tensor.sizes(), at::kFloat).copy_(tensor);
  };
  view.copy_in = [tensor](const void* from) {
    const c10::NoGradGuard no_gradient;
    tensor.copy_(at::from_blob(const_cast<void*>(from), tensor.sizes(), at::kFloat));
  };
  return view;
}

}  // namespace

Trainer::Trainer(const Config& config, const Dataset& dataset, const TrainerContext& context,
                 std::uint32_t attempt)
    : config_(config),
      context_(context),
      attempt_(attempt),
      schedule_end_(config.run.iterations),
      shards_(deal_shards(config.chains.shards, context.communicator.rank(),
                          context.communicator.size())),
      network_(
          make_network_on_all(config, dataset.shape(), context.energy_file, context.communicator)),
      optimizer_(config.optimizer, *network_, context.device),
      objective_(config, *network_, context.precision, context.device),
      batches_(dataset, config, attempt),
      bank_(config.chains, dataset.shape(), shards_, config.run.seed, attempt, context.device),
      start_(make_start_state(config, dataset, attempt,
                              [&activity = context.activity] { activity.advance(); })),
      engine_(make_gradient_engine(*network_, config.energy, context.precision, context.device)),
      transition_(make_piecewise_transition(
          {.most = engine_->largest_batch(),
           .group = fixed_batches() ? bank_.active_per_shard() : 0},
          [&] {
            return make_transition(config.sampler,
                                   {config.run.seed, random::Stream::chain_noise, attempt},
                                   [&activity = context.activity] { activity.advance(); });
          })),
      parts_(at::zeros({gradient_parts(), optimizer_.size()}, optimizer_.values().options())),
      gradient_(at::zeros_like(optimizer_.values())) {
  load_weights();
}

void Trainer::begin() { bank_.start_all(start_); }

IterationRecord Trainer::iterate() {
  IterationRecord record;
  Stopwatch total, phase;
  context_.activity.enter("chains");
  const double restart_probability =
      config_.chains.restart_probability.at(iteration_, schedule_end_);
  ChainBatch chains = bank_.visit(iteration_, restart_probability, start_);
  const at::Tensor before = chains.state.clone();
  const ChainStatistics statistics = transition_->advance(
      *engine_, chains, static_cast<std::uint64_t>(chain_steps_), config_.sampler.steps);
  bank_.put_back(chains, config_.sampler.steps);
  const at::Tensor data = data_batch();  // made while a GPU moves the chains
  const ChainRecord moved = statistics.sum();
  wait_for(context_.device);
  record.seconds_chains = phase.lap();

  context_.activity.enter("weight gradient");
  const EnergySums energies = weight_gradient(data, chains.state);
  const double noise = noise_energy();
  record.seconds_gradient = phase.lap();

  context_.activity.enter("reduction");
  context_.reducer.reduce(span_of(parts_), span_of(gradient_));
  summarize(config_,
            {moved, energies, noise, noise_probes_per_shard * config_.chains.shards, before,
             chains.state, bank_.visited_ages(), bank_.restarts_in_visit(),
             record.seconds_chains + record.seconds_gradient},
            context_.communicator, record);
  record.seconds_reduction = std::max(0.0, phase.lap() - record.seconds_waiting);

  context_.activity.enter("weight update");
  const double factor =
      std::ldexp(learning_rate_factor(config_.optimizer.schedule, iteration_, schedule_end_),
                 -static_cast<int>(attempt_));
  record.gradient_norm = optimizer_.update(gradient_, iteration_, factor);
  record.parameter_norm = optimizer_.parameter_norm();
  network_->update_buffers();
  load_weights();
  record.seconds_gradient += phase.lap();

  record.learning_rate = config_.optimizer.learning_rate * factor;
  record.restart_probability = restart_probability;
  record.gap_autocorrelation = gap_.add(record.gap);
  record.iteration = ++iteration_;
  chain_steps_ += config_.sampler.steps;
  samples_seen_ += config_.data.batch;
  record.seconds_iteration = total.lap();
  record.chain_steps_per_second = static_cast<double>(config_.chains.active) *
                                  static_cast<double>(config_.sampler.steps) /
                                  record.seconds_iteration;
  return record;
}

bool Trainer::fixed_batches() const {
  return config_.run.reproducible && !engine_->batch_invariant();
}

std::int64_t Trainer::gradient_parts() const {
  return config_.run.reproducible ? shards_.count : 1;
}

EnergySums Trainer::weight_gradient(const at::Tensor& data, const at::Tensor& chains) {
  objective_.load();
  return objective_.add_up(data, chains, parts_);
}

WorkingThreads Trainer::working_threads() const {
  const std::int64_t chains = bank_.active_per_shard() * shards_.count,
                     states = chains + config_.data.batch / shards_.total * shards_.count;
  return {chains, states, engine_->working_threads(chains),
          objective_.working_threads(gradient_parts(), states)};
}

at::Tensor Trainer::data_batch() const {
  const std::int64_t per_shard = config_.data.batch / config_.chains.shards;
  const std::int64_t count = per_shard * shards_.count;
  std::vector<std::int64_t> shape{count};
  shape.insert(shape.end(), network_->state_shape().begin(), network_->state_shape().end());
  at::Tensor data = at::empty(shape, at::kFloat);
  batches_.fill(iteration_, samples_seen_, per_shard * shards_.first, count,
                data.mutable_data_ptr<float>());
  return data.to(context_.device);
}

double Trainer::noise_energy() const {
  const c10::NoGradGuard no_gradient;
  const auto weights = network_->weights(network_->parameter_values());
  // Shard by shard where every batch must have the same shape whatever the number of ranks.
  const std::int64_t parts = gradient_parts(), shards = shards_.count / parts;
  double sum = 0;
  for (std::int64_t part = 0; part < parts; ++part) {
    const ChainBatch probes = noise_probes(shards_.first + part * shards, shards);
    sum += network_->forward(probes.state, weights).to(at::kCPU, at::kDouble).sum().item<double>();
  }
  return sum;
}

ChainBatch Trainer::noise_probes(std::int64_t first_shard, std::int64_t shards) const {
  const std::int64_t count = noise_probes_per_shard * shards;
  const std::int64_t first = noise_probes_per_shard * first_shard;
  std::vector<std::int64_t> shape{count};
  shape.insert(shape.end(), network_->state_shape().begin(), network_->state_shape().end());
  const auto range = config_.sampler.box.value_or(config_.data.range);
  ChainBatch probes{
      at::empty(shape, at::TensorOptions(at::kFloat).device(context_.device)),
      at::arange(first, first + count, at::TensorOptions(at::kLong).device(context_.device))};
  fill_uniform({config_.run.seed, random::Stream::noise_probe, attempt_},
               static_cast<std::uint64_t>(iteration_), static_cast<float>(range[0]),
               static_cast<float>(range[1]), probes);
  return probes;
}

void Trainer::load_weights() {
  const c10::NoGradGuard no_gradient;
  engine_->load(network_->weights(network_->parameter_values()));
}

std::vector<ArrayView> Trainer::arrays() {
  std::vector<ArrayView> views;
  const auto add_parameters = [&](const at::Tensor& flat, const std::string& prefix,
                                  const std::string& suffix) {
    for (const ParameterSlice& slice : optimizer_.slices()) {
      views.push_back(showing(flat.narrow(0, slice.offset, slice.count),
                              {.name = prefix + slice.name + suffix, .shape = slice.shape}));
    }
  };
  add_parameters(optimizer_.values(), "parameters/", "");
  add_parameters(optimizer_.average(), "average/", "");
  add_parameters(optimizer_.first_moment(), "optimizer/", "/first_moment");
  add_parameters(optimizer_.second_moment(), "optimizer/", "/second_moment");
  for (const NamedTensor& buffer : network_->buffers()) {
    views.push_back(showing(
        buffer.value, {.name = "buffers/" + buffer.name, .shape = buffer.value.sizes().vec()}));
  }
  const auto of_chains = [&](const std::string& name, ElementType type) {
    return ArrayView{.name = "chains/" + name,
                     .type = type,
                     .shape = {config_.chains.total},
                     .shards = shards_.total,
                     .first_shard = shards_.first,
                     .shard_count = shards_.count};
  };
  ArrayView state = of_chains("state", ElementType::float32);
  for (const std::int64_t extent : network_->state_shape()) state.shape.push_back(extent);
  views.push_back(showing(bank_.state(), std::move(state)));
  views.push_back(of_chains("age", ElementType::int64));
  views.back().data = bank_.ages().data();
  views.push_back(of_chains("restarts", ElementType::int64));
  views.back().data = bank_.restarts().data();
  return views;
}

Progress Trainer::progress() const {
  return {{"iteration", iteration_},
          {"attempt", std::int64_t{attempt_}},
          {"samples_seen", samples_seen_},
          {"chain_steps", chain_steps_},
          {"schedule_end", schedule_end_},
          {"learning_rate_factor", std::ldexp(1.0, -static_cast<int>(attempt_))},
          {"gap_count", gap_.count},
          {"gap_last", gap_.last},
          {"gap_mean", gap_.mean},
          {"gap_variance", gap_.variance},
          {"gap_covariance", gap_.covariance}};
}

void Trainer::restore(const Progress& progress) {
  iteration_ = integer_of(progress, "iteration");
  samples_seen_ = integer_of(progress, "samples_seen");
  chain_steps_ = integer_of(progress, "chain_steps");
  schedule_end_ = integer_of(progress, "schedule_end");
  gap_ = {real_of(progress, "gap_count"), real_of(progress, "gap_last"),
          real_of(progress, "gap_mean"), real_of(progress, "gap_variance"),
          real_of(progress, "gap_covariance")};
  load_weights();
}

at::Tensor Trainer::chain_energies(std::int64_t count) {
  const std::int64_t active = bank_.active_per_shard() * shards_.count;
  const std::int64_t room =
      states_at_once(active, bank_.state().numel() / bank_.local_count(), context_.device);
  return energies_of(*engine_, bank_.state().narrow(0, 0, count),
                     {.most = std::min(room, engine_->largest_batch()),
                      .group = fixed_batches() ? bank_.chains_per_shard() : 0})
      .to(at::kCPU);
}

}  // namespace stanley
