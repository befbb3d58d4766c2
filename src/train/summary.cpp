#include "train/summary.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "run/stopwatch.hpp"

namespace stanley {
namespace {

/// Σ over the chains of one number each, in double precision.
double sum_of(const at::Tensor& per_chain) {
  return per_chain.to(at::kCPU, at::kDouble).sum().item<double>();
}

/// The square root of a variance, which rounding may leave below zero. NaN stays NaN: std::max
/// would hide it from the guard.
double root(double variance) { return variance < 0 ? 0 : std::sqrt(variance); }

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
  communicator.sum(
      std::span<double>(sums.mutable_data_ptr<double>(), static_cast<std::size_t>(sums.numel())));
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

void summarize(const Config& config, const LocalSummary& local, Communicator& communicator,
               IterationRecord& record) {
  const c10::NoGradGuard no_gradient;
  const at::Tensor rows = local.after.flatten(1);
  ChainRecord chains = local.chains;
  EnergySums energies = local.energies;
  double element_mean = sum_of(rows.mean(1)), element_square = sum_of(rows.square().mean(1));
  record.energy_noise = local.noise_energy;
  record.restarts = static_cast<double>(local.restarts);
  record.chain_age_mean = std::accumulate(local.ages.begin(), local.ages.end(), 0.0);
  record.distance_moved = sum_of((local.after - local.before).flatten(1).norm(2, 1));
  record.saturation = share_at_box(rows, config.sampler);
  sum_over_ranks(communicator, {&chains.gradient_quantile[0],
                                &chains.gradient_quantile[1],
                                &chains.gradient_quantile[2],
                                &chains.gain_quantile[0],
                                &chains.gain_quantile[1],
                                &chains.gain_quantile[2],
                                &chains.gain_below_one,
                                &chains.drift,
                                &chains.gradient,
                                &chains.acceptance,
                                &energies.data,
                                &energies.chains,
                                &energies.data_squared,
                                &energies.chains_squared,
                                &element_mean,
                                &element_square,
                                &record.energy_noise,
                                &record.restarts,
                                &record.chain_age_mean,
                                &record.distance_moved,
                                &record.saturation});
  double largest[2] = {static_cast<double>(*std::max_element(local.ages.begin(), local.ages.end())),
                       local.seconds};
  communicator.max(std::span<double>(largest));
  record.chain_age_max = largest[0];
  record.seconds_waiting = largest[1] - local.seconds;

  const auto active = static_cast<double>(config.chains.active);
  const auto batch = static_cast<double>(config.data.batch);
  Stopwatch watch;
  record.chain_spread = spread_of(rows, active, communicator);
  record.seconds_guard = watch.lap();
  record.energy_data = energies.data / batch;
  record.energy_chains = energies.chains / active;
  record.gap = record.energy_chains - record.energy_data;
  record.loss = -record.gap + config.objective.energy_penalty * (energies.data_squared / batch +
                                                                 energies.chains_squared / active);
  record.energy_noise /= static_cast<double>(local.noise_probes);
  record.chain_age_mean /= active;
  record.distance_moved /= active;
  record.saturation /= active;
  const double mean = element_mean / active;
  record.chain_scale = root(element_square / active - mean * mean);
  record.state_gradient_q10 = chains.gradient_quantile[0] / active;
  record.state_gradient_q50 = chains.gradient_quantile[1] / active;
  record.state_gradient_q90 = chains.gradient_quantile[2] / active;
  record.gain_q10 = chains.gain_quantile[0] / active;
  record.gain_q50 = chains.gain_quantile[1] / active;
  record.gain_q90 = chains.gain_quantile[2] / active;
  record.gain_below_one = chains.gain_below_one / active;
  record.gain_weighted_drift = chains.drift / chains.gradient;
  record.acceptance_rate = chains.acceptance / active;
}

double GapStatistics::add(double gap) {
  constexpr double weight = 0.02;
  const double before = last - mean, now = gap - mean;
  if (count == 0) {
    mean = gap;
  } else {
    variance += weight * (now * now - variance);
    covariance += weight * (now * before - covariance);
    mean += weight * now;
  }
  last = gap;
  count += 1;
  return count < 3 ? std::numeric_limits<double>::quiet_NaN() : covariance / variance;
}

}  // namespace stanley
