#include "sampling/denoiser.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sampler/device_update.hpp"

namespace stanley {
namespace {

constexpr std::int64_t fitted_samples = 1024, samples_at_once = 64;
constexpr double least_removed = 0.2;

void keep_in_box(at::Tensor& states, const SamplerConfig& config) {
  if (config.box) states.clamp_((*config.box)[0], (*config.box)[1]);
}

double sum_of_products(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kCPU, at::kDouble) * b.to(at::kCPU, at::kDouble)).sum().item<double>();
}

}  // namespace

FittedStep fit_step(GradientEngine& engine, const Dataset& training, const Config& config,
                    std::int64_t most_states, at::Device device) {
  const c10::NoGradGuard no_gradient;
  const std::int64_t count = std::min(fitted_samples, training.size());
  ChainBatch noised = zero_chains(0, count, training.shape(), at::kCPU);
  at::Tensor clean = noised.state.clone();
  for (std::int64_t i = 0; i < count; ++i) {
    training.copy_sample(i, clean.mutable_data_ptr<float>() + i * training.dimension());
  }
  fill_normal({config.run.seed, random::Stream::denoised_data, 0}, 0,
              static_cast<float>(config.data.noise), noised);
  noised.state.add_(clean);
  keep_in_box(noised.state, config.sampler);

  const std::int64_t at_once = std::min(samples_at_once, most_states);
  const at::Tensor gradient =
      gradients_of(engine, noised.state.to(device), {.most = at_once, .group = at_once});
  const at::Tensor error = noised.state - clean;
  const double squares = sum_of_products(gradient, gradient),
               before = sum_of_products(error, error);
  const double temperature = config.sampler.temperature_value(), sigma = config.data.noise;
  FittedStep step;
  step.factor = squares > 0 ? sum_of_products(error, gradient) / squares : 0;
  step.removed = before > 0 ? step.factor * sum_of_products(error, gradient) / before : 0;
  step.tweedie = sigma * sigma / temperature;
  step.score = sigma * std::sqrt(squares / static_cast<double>(gradient.numel())) / temperature;
  return step;
}

std::optional<std::string> Denoiser::fit(GradientEngine& engine, const Dataset& training,
                                         std::int64_t most_states, at::Device device) {
  step_.reset();
  const FittedStep step = fit_step(engine, training, config_, most_states, device);
  if (!(step.removed >= least_removed) || !(step.factor > 0)) {
    return fmt::format(
        "samples.denoise: the fitted step takes {:.1f} % of the squared error off noised training "
        "data, less than {:.0f} %: the gradient does not point away from the noise; take "
        "noise-free steps, {{steps: 40}}",
        100 * std::max(step.removed, 0.0), 100 * least_removed);
  }
  step_ = step;
  return std::nullopt;
}

void Denoiser::apply(GradientEngine& engine, ChainBatch& batch) const {
  const c10::NoGradGuard no_gradient;
  if (step_) {
    const std::int64_t all = batch.state.size(0);
    batch.state.sub_(gradients_of(engine, batch.state, {.most = all}), step_->factor);
    keep_in_box(batch.state, config_.sampler);
    return;
  }
  if (!config_.samples.denoise.steps) return;
  SamplerConfig quiet = config_.sampler;
  quiet.noise = 0.0;
  quiet.temperature.reset();
  quiet.metropolis = quiet.drift_correction = false;
  const bool has_drift = quiet.type == TransitionType::stanley ||
                         quiet.type == TransitionType::langevin ||
                         quiet.type == TransitionType::tamed;
  if (!has_drift) quiet.type = TransitionType::gradient_descent;
  const auto transition = make_transition(quiet, random::Key{});
  batch.memory = start_memory(transition->memory(), batch.state);
  transition->advance(engine, batch, 0, *config_.samples.denoise.steps);
}

std::pair<at::Tensor, at::Tensor> Denoiser::draws(GradientEngine& engine, const ChainBatch& chains,
                                                  const Pieces& pieces) const {
  const std::int64_t count = chains.state.size(0);
  at::Tensor states = at::empty(chains.state.sizes(), at::kFloat);
  at::Tensor energies = at::empty({count}, at::kDouble);
  pieces.for_each(count, [&](std::int64_t first, std::int64_t size) {
    ChainBatch piece = chains.narrow(first, size);
    piece.state = piece.state.clone();
    apply(engine, piece);
    states.narrow(0, first, size).copy_(piece.state);
    energies.narrow(0, first, size).copy_(energies_of(engine, piece.points(), {size}));
  });
  return {states, energies};
}

std::string Denoiser::text() const {
  if (config_.samples.denoise.steps) {
    return fmt::format("{} noise-free steps", *config_.samples.denoise.steps);
  }
  if (!step_) return "";
  const bool is_score = std::abs(step_->score - 1) < 0.2;
  return fmt::format(
      "one step of {:.4g}·∇E, fitted, which takes {:.1f} % of the squared error off noised "
      "training data ({})",
      step_->factor, 100 * step_->removed,
      is_score ? fmt::format("Tweedie's: {:.4g}", step_->tweedie)
               : fmt::format("not Tweedie's: ∇E/T is {:.3g} times as large as the noised data's "
                             "score would be",
                             step_->score));
}

}  // namespace stanley
