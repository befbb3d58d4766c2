#include "sampling/sampled_chains.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "chains/tensor_view.hpp"
#include "parallel/agree.hpp"
#include "parallel/gather.hpp"

namespace stanley {
namespace {

constexpr double near_enough = 0.1;  // of T, where a warm-up begins without the correction

/// Collective. Σ over all chains of a chain's `count` numbers: shard by shard, in their order.
std::vector<double> ordered_sums(const std::vector<double>& of_shards, std::size_t count,
                                 Communicator& communicator) {
  std::vector<double> sums(count, 0.0);
  const std::vector<double> all = gather_numbers(of_shards, communicator);
  for (std::size_t i = 0; i < all.size(); ++i) sums[i % count] += all[i];
  return sums;
}

bool has_column(const Transition& transition, const char* name) {
  return std::ranges::any_of(transition.columns(),
                             [&](const Column& one) { return one.name == name; });
}

}  // namespace

SampledChains::SampledChains(const Config& config, TrainedEnergy& energy, const Pieces& pieces,
                             const RankChains& rows, at::Device device, Communicator& communicator,
                             std::function<void()> stepped)
    : config_(config), energy_(energy), rows_(rows), communicator_(communicator) {
  const random::Key key{config.run.seed, random::Stream::sampling, 0};
  const auto make = [&](bool metropolis) {
    SamplerConfig sampler = config.sampler;
    sampler.metropolis = metropolis;
    return make_piecewise_transition(pieces,
                                     [&] { return make_transition(sampler, key, stepped); });
  };
  corrected_ = make(config.sampler.metropolis);
  if (config.sampling.unadjusted) {
    free_ = make(false);
    unadjusted_until_ = -1;
  }
  chains_ = zero_chains(rows.first(), rows.count(), energy.network->state_shape(), device);
  chains_.memory = start_memory(corrected_->memory(), chains_.state);
  if (config.sampling.acceptance) {
    adaptation_.emplace(rows.shards.count, config.sampler.step_size, *config.sampling.acceptance);
  }
  all_.assign(static_cast<std::size_t>(rows.count()), {});
  lately_ = round_ = all_;
  if (!warming_up()) end_warm_up();
}

void SampledChains::move() {
  const std::int64_t warm_up = config_.sampling.warm_up;
  const std::int64_t steps =
      warming_up() ? std::min(config_.sampling.thin, warm_up - steps_) : config_.sampling.thin;
  std::fill(round_.begin(), round_.end(), std::array<double, 4>{});
  const bool without = unadjusted();
  agree(communicator_, [&] {
    if (warming_up() && adaptation_ && !without) return move_adapting(steps);
    Transition& transition = without ? *free_ : *corrected_;
    take_in(transition,
            transition.advance(*energy_.engine, chains_, static_cast<std::uint64_t>(steps_), steps),
            steps);
  });
  steps_ += steps;
  const bool counts = steps_ > warm_up;
  for (std::size_t i = 0; i < round_.size(); ++i) {
    for (std::size_t j = 0; j < round_[i].size(); ++j) {
      lately_[i][j] += round_[i][j];
      if (counts) all_[i][j] += round_[i][j];
    }
  }
  if (without && (near_law() || 2 * (steps_ + config_.sampling.thin) > warm_up)) {
    unadjusted_until_ = steps_;
  }
  if (steps_ == warm_up) end_warm_up();
}

/// A step at a time: each tells how many chains of a shard took it.
void SampledChains::move_adapting(std::int64_t steps) {
  use_step_sizes(adaptation_->step_sizes());
  for (std::int64_t k = 0; k < steps; ++k) {
    take_in(
        *corrected_,
        corrected_->advance(*energy_.engine, chains_, static_cast<std::uint64_t>(steps_ + k), 1),
        1);
    adaptation_->observe(shard_means());
    use_step_sizes(adaptation_->step_sizes());
  }
}

void SampledChains::take_in(const Transition& transition, const at::Tensor& statistics,
                            std::int64_t steps) {
  const at::Tensor host = statistics.to(at::kCPU).contiguous();
  const auto row = [&](std::size_t column) {
    return host.const_data_ptr<double>() + static_cast<std::int64_t>(column) * host.size(1);
  };
  const std::size_t rate = column_number(transition, "acceptance_rate");
  acceptance_ = host[static_cast<std::int64_t>(rate)];
  const double *const accepted = row(rate), *a = nullptr, *b = nullptr;
  if (has_column(transition, "temperature_law")) {
    const std::size_t law = column_number(transition, "temperature_law");
    a = row(law);
    b = row(*transition.columns()[law].weight);
  }
  for (std::size_t i = 0; i < round_.size(); ++i) {
    round_[i][0] += accepted[i] * static_cast<double>(steps);
    round_[i][3] += static_cast<double>(steps);
    if (a == nullptr) continue;
    round_[i][1] += a[i];
    round_[i][2] += b[i];
  }
}

/// The share of each shard's chains that took the last step.
std::vector<double> SampledChains::shard_means() const {
  const double* accepted = acceptance_.const_data_ptr<double>();
  std::vector<double> means;
  for (std::int64_t shard = 0; shard < rows_.shards.count; ++shard) {
    double sum = 0;
    for (std::int64_t i = 0; i < rows_.per_shard; ++i) sum += *accepted++;
    means.push_back(sum / static_cast<double>(rows_.per_shard));
  }
  return means;
}

void SampledChains::use_step_sizes(const std::vector<double>& sizes) {
  at::Tensor each = at::empty({rows_.count()}, at::kFloat);
  for (std::int64_t i = 0; i < rows_.count(); ++i) {
    each.mutable_data_ptr<float>()[i] =
        static_cast<float>(sizes[static_cast<std::size_t>(i / rows_.per_shard)]);
  }
  chains_.step_size = each.to(chains_.state.device());
}

void SampledChains::end_warm_up() {
  if (unadjusted()) unadjusted_until_ = steps_;
  corrected_->freeze();
  if (adaptation_) use_step_sizes(adaptation_->final_step_sizes());
}

ChainsTold SampledChains::told_by(const Sums& sums) {
  constexpr std::size_t count = 8;
  std::vector<double> of_shards;
  auto chain = sums.begin();
  for (std::int64_t shard = 0; shard < rows_.shards.count; ++shard) {
    std::array<double, count> sum{};
    for (std::int64_t i = 0; i < rows_.per_shard; ++i, ++chain) {
      const auto& [accepted, a, b, rounds] = *chain;
      const std::array<double, count> one{accepted, rounds, a, b, a * a, a * b, b * b, 1};
      for (std::size_t j = 0; j < count; ++j) sum[j] += one[j];
    }
    of_shards.insert(of_shards.end(), sum.begin(), sum.end());
  }
  const std::vector<double> all = ordered_sums(of_shards, count, communicator_);
  const double unknown = std::numeric_limits<double>::quiet_NaN();
  ChainsTold told{.acceptance = all[1] > 0 ? all[0] / all[1] : unknown,
                  .temperature = {unknown, unknown},
                  .chain_rounds = all[1]};
  if (all[3] != 0) {
    told.temperature = ratio_over_chains(
        {.a = all[2], .b = all[3], .aa = all[4], .ab = all[5], .bb = all[6]}, all[7]);
  }
  return told;
}

ChainsTold SampledChains::told_lately() {
  const ChainsTold told = told_by(lately_);
  std::fill(lately_.begin(), lately_.end(), std::array<double, 4>{});
  return told;
}

ChainsTold SampledChains::told() { return told_by(all_); }

/// Collective. Whether the thermometer of the last round reads T.
bool SampledChains::near_law() {
  const double temperature = config_.sampler.temperature_value();
  const double reads = told_by(round_).temperature.value;
  return std::abs(reads / temperature - 1) <= near_enough;
}

double SampledChains::gradients() const {
  const std::int64_t thin = config_.sampling.thin,
                     after = std::max<std::int64_t>(steps_ - config_.sampling.warm_up, 0);
  return static_cast<double>(after / thin * corrected_->gradients(thin));
}

std::vector<double> SampledChains::step_sizes() {
  if (!adaptation_) return {config_.sampler.step_size};
  return gather_numbers(adaptation_->final_step_sizes(), communicator_);
}

std::vector<ArrayView> SampledChains::arrays() {
  std::vector<ArrayView> views;
  const auto add_tensor = [&](const std::string& name, const at::Tensor& tensor) {
    ArrayView view = rows_.view("chains/" + name, rows_.per_shard);
    view.shape.insert(view.shape.end(), tensor.sizes().begin() + 1, tensor.sizes().end());
    views.push_back(showing(tensor, std::move(view)));
  };
  add_tensor("state", chains_.state);
  const std::vector<Memory> memory = corrected_->memory();
  for (std::size_t i = 0; i < memory.size(); ++i) add_tensor(memory[i].name, chains_.memory[i]);
  const auto add_numbers = [&](const std::string& name, std::int64_t each, std::int64_t columns,
                               double* data) {
    ArrayView view = rows_.view(name, each);
    view.type = ElementType::float64;
    view.shape.push_back(columns);
    view.data = data;
    views.push_back(std::move(view));
  };
  add_numbers("told/sums", rows_.per_shard, 4, all_.front().data());
  if (adaptation_) add_numbers("adaptation/step_size", 1, 4, adaptation_->state().data());
  return views;
}

void SampledChains::add_to(Progress& progress) const {
  progress["chain_steps"] = steps_;
  progress["unadjusted_until"] = unadjusted_until_;
}

void SampledChains::restore(const Progress& progress) {
  steps_ = integer_of(progress, "chain_steps");
  unadjusted_until_ = integer_of(progress, "unadjusted_until");
  if (!warming_up()) end_warm_up();
}

}  // namespace stanley
