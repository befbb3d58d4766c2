#include "sampler/places.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "config/error.hpp"
#include "sampler/device_update.hpp"

namespace stanley {
namespace {

/// Which numbers of a step; a run has fewer than 2^60 steps.
enum class Purpose : std::uint64_t { normals, acceptance, uniforms, signs, jitter };

std::uint64_t at_step(Purpose purpose, std::uint64_t step) {
  return (static_cast<std::uint64_t>(purpose) << 60U) + step;
}

ChainBatch zeros(const at::Tensor& ids, std::int64_t dimension) {
  return {at::empty({ids.size(0), dimension}, ids.options().dtype(at::kFloat)), ids};
}

/// Σf·∂E and Σf′ of each chain [n].
std::pair<at::Tensor, at::Tensor> law_sums(const Place& place, const SamplerConfig& config) {
  const at::Tensor z = place.state.to(at::kDouble), slope = place.gradient.to(at::kDouble);
  if (!config.box) return {(z * slope).sum(1), at::ones_like(z).sum(1)};
  const auto [low, high] = *config.box;
  const at::Tensor y = z - (low + high) / 2,
                   w = (1 - (y * (2 / (high - low))).square()).clamp_min(0);
  return {(y * w.square() * slope).sum(1), (w * (5 * w - 4)).sum(1)};
}

}  // namespace

at::Tensor StepNumbers::normals(const at::Tensor& ids, std::uint64_t step,
                                std::int64_t dimension) const {
  const ChainBatch drawn = zeros(ids, dimension);
  fill_normal(key_, at_step(Purpose::normals, step), 1.0F, drawn);
  return drawn.state;
}

at::Tensor StepNumbers::uniforms(const at::Tensor& ids, std::uint64_t step,
                                 std::int64_t dimension) const {
  const ChainBatch drawn = zeros(ids, dimension);
  fill_uniform(key_, at_step(Purpose::uniforms, step), 0.0F, 1.0F, drawn);
  return drawn.state;
}

at::Tensor StepNumbers::signs(const at::Tensor& ids, std::uint64_t step,
                              std::int64_t dimension) const {
  const ChainBatch drawn = zeros(ids, dimension);
  fill_uniform(key_, at_step(Purpose::signs, step), -1.0F, 1.0F, drawn);
  return drawn.state.sign();  // never 0
}

at::Tensor StepNumbers::log_uniforms(const at::Tensor& ids, std::uint64_t step) const {
  const ChainBatch drawn = zeros(ids, 2);
  fill_uniform(key_, at_step(Purpose::acceptance, step), 0.0F, 1.0F, drawn);
  // Each is (k + ½)·2^−23: the second one divides the cells of the first.
  const at::Tensor both = drawn.state.to(at::kDouble);
  return (both.select(1, 0) - 0x1p-24 + both.select(1, 1) * 0x1p-23).log();
}

at::Tensor StepNumbers::jitter(const at::Tensor& ids, std::uint64_t step) const {
  const ChainBatch drawn = zeros(ids, 1);
  fill_uniform(key_, at_step(Purpose::jitter, step), -1.0F, 1.0F, drawn);
  return drawn.state;
}

Place Places::at(const at::Tensor& state) const {
  const std::int64_t n = state.size(0);
  Place place{state.contiguous(), at::empty({n}, state.options().dtype(at::kDouble))};
  const Points points{shaped(place.state), batch_.condition};
  if (gradient_) {
    at::Tensor gradient = at::empty_like(points.state);
    engine_.evaluate(points, place.energy, &gradient);
    place.gradient = gradient.view({n, -1});
  } else {
    engine_.evaluate(points, place.energy, nullptr);
  }
  return place;
}

void Places::look_along(Place& place, const at::Tensor& signs) const {
  if (!curvature_) return;
  at::Tensor product = at::empty_like(batch_.state);
  engine_.hessian_product({shaped(place.state), batch_.condition}, shaped(signs), product);
  place.curvature = product.view_as(place.state);
}

void Places::move(Place& here, const Place& there, const at::Tensor& accepted) const {
  const at::Tensor rows = accepted.unsqueeze(1);
  here.state = at::where(rows, there.state, here.state);
  here.energy = at::where(accepted, there.energy, here.energy);
  if (gradient_) here.gradient = at::where(rows, there.gradient, here.gradient);
}

void check_precision(const GradientEngine& engine, const at::Tensor& energy,
                     const StepScale& scale) {
  constexpr double most = 0.01;
  const auto temperature = scale.temperature.min().item<double>();
  const double size = energy.nan_to_num(0.0, 0.0, 0.0).abs().max().item<double>();
  const double error = engine.energy_error() * (1 + size) / temperature;
  if (error <= most) return;
  throw Error(
      ExitCode::configuration,
      fmt::format("sampler.metropolis true decides by energies, and those of {} are off by {:.2g} "
                  "T (energies of {:.3g}, T = {:.3g}): more than {} T, so that rounding would "
                  "decide; raise the temperature, set run.precision to float32, or "
                  "sampler.metropolis to false",
                  engine.description(), error, size, temperature, most));
}

const std::vector<Column>& told_columns(bool with_gradient) {
  static const std::vector<Column> all{{"acceptance_rate"},
                                       {"step_length"},
                                       {"state_gradient_q10"},
                                       {"state_gradient_q50"},
                                       {"state_gradient_q90"},
                                       {"temperature_law", 6, true},
                                       {""}};
  static const std::vector<Column> without{all.begin(), all.begin() + 2};
  return with_gradient ? all : without;
}

at::Tensor told_of(const Place& place, const SamplerConfig& config) {
  std::vector<at::Tensor> told;
  for (const double q : {0.1, 0.5, 0.9}) {
    const std::int64_t rank = quantile_rank(q, place.gradient.size(1));
    told.push_back(absolute_order_statistic(place.gradient, rank).to(at::kDouble));
  }
  const auto [virial, slope] = law_sums(place, config);
  told.insert(told.end(), {virial, slope});
  return at::stack(told);
}

at::Tensor lengths_of(const at::Tensor& moves) {
  const auto root = std::sqrt(static_cast<double>(moves.size(1)));
  return moves.norm(2, 1).div_(root).to(at::kDouble);
}

StepScale scale_of(const SamplerConfig& config, const ChainBatch& batch) {
  constexpr double reach = 8.6;  // deviations, beyond which a normal law has less than 1e-17
  const auto each = [&](const at::Tensor& own, double value) {
    return own.defined() ? own.unsqueeze(1)
                         : at::full({batch.state.size(0), 1}, value, batch.state.options());
  };
  StepScale scale{each(batch.step_size, config.step_size),
                  each(batch.temperature, config.temperature_value())};
  scale.deviation = (scale.step_size * scale.temperature).sqrt();
  scale.reach = reach * scale.deviation.max().item<double>();
  return scale;
}

}  // namespace stanley
