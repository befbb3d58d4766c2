#include "train/account.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "chains/tensor_view.hpp"
#include "sampler/device_update.hpp"
#include "sampler/thermometer.hpp"

namespace stanley {
namespace {

/// Means over the active chains.
constexpr std::array means{&IterationRecord::chain_age_mean, &IterationRecord::distance_moved,
                           &IterationRecord::saturation};

/// Σ over the chains of one number each, in double precision.
double sum_of(const at::Tensor& per_chain) {
  return per_chain.to(at::kCPU, at::kDouble).sum().item<double>();
}

/// The square root of a variance, which rounding may leave below zero. NaN stays NaN: std::max
/// would hide it from the guard.
double root(double variance) { return variance < 0 ? 0 : std::sqrt(variance); }

/// Leaves seven digits. A sum of doubles that are no floats has last ones by the order in which the
/// ranks' parts are added, and a record must not tell how many ranks there were.
double without_last_digits(double number) { return static_cast<float>(number); }

double share_at_box(const at::Tensor& rows, const SamplerConfig& config) {
  if (!config.box) return 0;
  const auto [low, high] = *config.box;
  return sum_of(((rows <= low) | (rows >= high)).to(at::kFloat).mean(1));
}

/// Collective. Root mean square over the elements of the standard deviation over all `count`
/// chains.
double spread_of(const at::Tensor& rows, double count, Communicator& communicator) {
  // In double precision the order in which MPI adds the ranks' sums, which differs with the ranks,
  // moves the result by some 1e-16 of it: the guard's limits are not that sharp.
  at::Tensor sums = at::stack({rows.to(at::kDouble).sum(0), rows.square().to(at::kDouble).sum(0)})
                        .to(at::kCPU)
                        .contiguous();
  communicator.sum(values_of<double>(sums));
  const at::Tensor variance = sums[1] / count - (sums[0] / count).square();
  return root(variance.mean().item<double>());
}

void sum_over_ranks(Communicator& communicator, const std::vector<double*>& values) {
  std::vector<double> sums;
  for (const double* value : values) sums.push_back(*value);
  communicator.sum(std::span<double>(sums));
  for (std::size_t i = 0; i < values.size(); ++i) *values[i] = sums[i];
}

}  // namespace

void Account::enter(const char* phase, double IterationRecord::*seconds) {
  end_phase();
  seconds_ = seconds;
  activity_.enter(phase);
}

void Account::end_phase() {
  if (statistics_.defined()) {
    told_ = sums_of(statistics_);
    products_ = products_of(std::exchange(statistics_, {}), columns_);
    wait_for(device_);
  }
  if (seconds_ != nullptr) record_.*seconds_ += watch_.lap();
}

/// Puts what the transition told, summed over the ranks, where its names say.
void Account::name_statistics() {
  auto product = products_.begin();
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    const Column& column = columns_[i];
    if (column.name.empty()) continue;
    const auto active = static_cast<double>(config_.chains.active);
    record_.column(column.name) = told_[i] / (column.weight ? told_[*column.weight] : active);
    if (!column.with_error) continue;
    const Ratio ratio = ratio_over_chains(
        {told_[i], told_[*column.weight], product[0], product[1], product[2]}, active);
    product += 3;
    record_.column(column.name) = without_last_digits(ratio.value);
    record_.column(column.name + "_error") = without_last_digits(ratio.error);
  }
}

/// Takes back temperatures of steps too long to tell them; the score of the data, ∇log p = −∇E/T.
void Account::record_temperatures() {
  if (!step_is_small(record_.step_length, record_.saturation, config_.sampler)) {
    record_.temperature_settled = record_.temperature_settled_error = record_.temperature_law =
        record_.temperature_law_error = IterationRecord::undefined;
  }
  const double temperature = config_.sampler.temperature_value();
  if (probed_elements_ > 0 && temperature > 0) {
    record_.data_score =
        without_last_digits(std::sqrt(record_.data_score / probed_elements_) / temperature);
  }
}

void Account::energies(const EnergySums& sums, double counted, double noise) {
  energies_ = sums;
  counted_ = counted;
  record_.energy_noise = noise;
}

void Account::data_gradients(double squares, double elements) {
  record_.data_score = squares;
  probed_elements_ = elements;
}

void Account::summarize(const at::Tensor& after, const std::vector<std::int64_t>& ages,
                        std::int64_t restarts, Communicator& communicator) {
  const c10::NoGradGuard no_gradient;
  const at::Tensor rows = after.flatten(1);
  record_.restarts = static_cast<double>(restarts);
  record_.chain_age_mean = std::accumulate(ages.begin(), ages.end(), 0.0);
  record_.distance_moved = sum_of((after - before_).flatten(1).norm(2, 1));
  record_.saturation = share_at_box(rows, config_.sampler);
  double element_mean = sum_of(rows.mean(1)), element_square = sum_of(rows.square().mean(1));
  std::vector<double*> summed{
      &energies_.data, &energies_.chains, &energies_.data_squared, &energies_.chains_squared,
      &element_mean,   &element_square,   &record_.energy_noise,   &record_.restarts,
      &noise_.before,  &noise_.left};
  for (const auto column : means) summed.push_back(&(record_.*column));
  for (double& told : told_) summed.push_back(&told);
  for (double& product : products_) summed.push_back(&product);
  if (probed_elements_ > 0) summed.push_back(&record_.data_score);
  sum_over_ranks(communicator, summed);
  const double mine = record_.seconds_chains + record_.seconds_gradient;
  double largest[2] = {static_cast<double>(*std::max_element(ages.begin(), ages.end())), mine};
  communicator.max(std::span<double>(largest));
  record_.chain_age_max = largest[0];
  record_.seconds_waiting = largest[1] - mine;

  const auto active = static_cast<double>(config_.chains.active);
  const auto batch = static_cast<double>(config_.data.batch);
  Stopwatch watch;
  record_.chain_spread = spread_of(rows, active, communicator);
  record_.seconds_guard = watch.lap();
  for (const auto column : means) record_.*column /= active;
  record_.energy_data = energies_.data / batch;
  record_.energy_chains = energies_.chains / counted_;
  record_.counted_share = counted_ / active;
  record_.gap = record_.energy_chains - record_.energy_data;
  record_.loss =
      -record_.gap + config_.objective.energy_penalty *
                         (energies_.data_squared / batch + energies_.chains_squared / counted_);
  record_.energy_noise /= static_cast<double>(noise_probes_per_shard * config_.chains.shards);
  if (noise_.before > 0) record_.noise_left = without_last_digits(noise_.left / noise_.before);
  const double mean = element_mean / active;
  record_.chain_scale = root(element_square / active - mean * mean);
  name_statistics();
  record_temperatures();
}

IterationRecord Account::close(std::int64_t finished) {
  end_phase();
  record_.iteration = finished;
  // Bounds the wait: a rank that began the iteration late had less to wait for than it had to do.
  record_.seconds_waiting = std::min(record_.seconds_waiting, record_.seconds_reduction);
  record_.seconds_reduction -= record_.seconds_waiting;
  record_.seconds_iteration = total_.lap();
  record_.chain_steps_per_second = static_cast<double>(config_.chains.active) *
                                   static_cast<double>(config_.sampler.steps) /
                                   record_.seconds_iteration;
  return record_;
}

}  // namespace stanley
