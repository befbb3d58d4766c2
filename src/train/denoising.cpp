#include "train/denoising.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

namespace stanley {
namespace {

/// Root mean square of an element's move from a noised sample to either side: far enough for the
/// difference of two energies in bfloat16, near enough for a derivative.
constexpr double half_distance = 0.02;

at::Tensor squared_norms(const at::Tensor& states) {
  return states.flatten(1).to(at::kDouble).square().sum(1);
}

}  // namespace

DenoisingTerm::DenoisingTerm(const Config& config)
    : weight_(config.objective.denoising),
      temperature_(config.sampler.temperature_value()),
      noise_(config.data.noise),
      largest_noise_(config.objective.denoising_noise),
      batch_(config.data.batch) {}

std::vector<double> DenoisingTerm::deviations(std::int64_t first, std::int64_t count) const {
  std::vector<double> result;
  for (std::int64_t i = first; i < first + count; ++i) {
    const double place = (static_cast<double>(i) + 0.5) / static_cast<double>(batch_);
    result.push_back(noise_ * std::pow(largest_noise_ / noise_, place));
  }
  return result;
}

WeightedStates DenoisingTerm::pairs(GradientEngine& engine, const NoisedSamples& samples,
                                    const Pieces& pieces, NoiseSquares& squares) const {
  const c10::NoGradGuard no_gradient;
  const at::Tensor& noised = samples.noised;
  const std::int64_t count = noised.size(0);
  const double tweedie = noise_ * noise_ / temperature_;
  const at::Tensor noise = noised - samples.clean;
  const at::Tensor residual = gradients_of(engine, noised, pieces) - noise / tweedie;

  const at::Tensor deviation = at::tensor(samples.deviations, at::kDouble).to(noised.device());
  const at::Tensor norms = squared_norms(residual).sqrt();
  squares.before = (squared_norms(noise) / deviation.square()).sum().item<double>();
  squares.left = (norms * tweedie / deviation).square().sum().item<double>();

  const double distance =
      half_distance * std::sqrt(static_cast<double>(noised.numel()) / static_cast<double>(count));
  std::vector<std::int64_t> per_state(static_cast<std::size_t>(noised.dim()), 1);
  per_state[0] = count;
  const at::Tensor half =
      residual * (distance / norms.clamp_min(1e-30)).to(at::kFloat).view(per_state);
  const at::Tensor factors = (weight_ * tweedie / (2 * distance * static_cast<double>(batch_)) *
                              norms * (noise_ / deviation).square())
                                 .to(at::kFloat);
  return {at::stack({noised + half, noised - half}, 1).flatten(0, 1),
          at::stack({factors, -factors}, 1).flatten()};
}

}  // namespace stanley
