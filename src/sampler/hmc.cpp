#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <utility>

#include "sampler/places.hpp"
#include "sampler/transition.hpp"
#include "sampler/walls.hpp"

namespace stanley {
namespace {

/// Hamiltonian Monte Carlo (Duane et al. 1987; Neal, arXiv 1206.1901): a chain step is a trajectory
/// of leapfrog steps of ε = √α at the energy E + p²/2, with momenta p from N(0, T), accepted with
/// the probability min(1, exp(−ΔH/T)). ε is jittered once a trajectory, so that none is periodic
/// for every chain. Part of the momentum may stay (Horowitz 1991); it turns where a trajectory is
/// refused. Chains bounce off walls, which keeps volumes and can be gone back.
class HmcTransition final : public Transition {
 public:
  HmcTransition(const SamplerConfig& config, random::Key key, std::function<void()> stepped)
      : config_(config), walls_(config.box), numbers_(key), stepped_(std::move(stepped)) {}

  std::vector<Memory> memory() const override {
    if (!keeps_momentum()) return {};
    // Not a number: a chain that has none yet draws all of it.
    return {{.name = "momentum", .like_state = true, .start = std::nan("")}};
  }

  const std::vector<Column>& columns() const override { return told_columns(true); }

  std::int64_t gradients(std::int64_t steps) const override {
    return steps * config_.trajectory.steps + 1;
  }

  at::Tensor advance(GradientEngine& engine, ChainBatch& batch, std::uint64_t first_step,
                     std::int64_t steps) override {
    const c10::NoGradGuard no_gradient;
    const Places places(engine, batch, true, false);
    const at::Tensor start = batch.state.flatten(1);
    const StepScale scale = scale_of(config_, batch);
    Place here = places.at(start);
    check_precision(engine, here.energy, scale);
    const at::Tensor told = told_of(here, config_);
    at::Tensor accepted = at::zeros_like(here.energy), length;
    for (std::int64_t k = 0; k < steps; ++k) {
      const at::Tensor before = here.state;
      accepted.add_(
          trajectory(places, here, scale, batch, first_step + static_cast<std::uint64_t>(k)));
      if (k == 0) {
        length = lengths_of(here.state - before);
      }
      if (stepped_) stepped_();
    }
    batch.state.copy_(here.state.view_as(batch.state));
    return at::cat({at::stack({accepted / static_cast<double>(steps), length}), told});
  }

 private:
  bool keeps_momentum() const { return config_.trajectory.refreshment < 1; }

  /// p [n, d] of N(0, T) where it was before.
  at::Tensor momentum_of(const StepScale& scale, const ChainBatch& batch,
                         std::uint64_t step) const {
    const at::Tensor fresh =
        scale.temperature.sqrt() *
        numbers_.normals(batch.ids, step, batch.state.numel() / batch.state.size(0));
    if (!keeps_momentum()) return fresh;
    const double share = config_.trajectory.refreshment;
    const at::Tensor kept = batch.memory.front().flatten(1);
    return at::where(kept.isnan(), fresh, std::sqrt(1 - share) * kept + std::sqrt(share) * fresh);
  }

  /// Which chains moved, as 1 and 0 [n].
  at::Tensor trajectory(const Places& places, Place& here, const StepScale& scale,
                        ChainBatch& batch, std::uint64_t step) const {
    const at::Tensor begun = momentum_of(scale, batch, step),
                     jitter = numbers_.jitter(batch.ids, step) * config_.trajectory.jitter,
                     epsilon = scale.step_size.sqrt() * (1 + jitter);
    at::Tensor momentum = at::addcmul(begun, epsilon, here.gradient, -0.5), position = here.state;
    Place there;
    for (std::int64_t leap = 1; leap <= config_.trajectory.steps; ++leap) {
      position = at::addcmul(position, epsilon, momentum);
      walls_.bounce(position, momentum);
      there = places.at(position);
      const double kick = leap < config_.trajectory.steps ? -1 : -0.5;
      momentum = at::addcmul(momentum, epsilon, there.gradient, kick);
    }
    const at::Tensor temperature = scale.temperature.squeeze(1).to(at::kDouble),
                     change = there.energy - here.energy + kinetic(momentum) - kinetic(begun),
                     accepted = (numbers_.log_uniforms(batch.ids, step) < -change / temperature)
                                    .logical_and(there.energy.isfinite());
    places.move(here, there, accepted);
    if (keeps_momentum()) {
      batch.memory.front().copy_(
          at::where(accepted.unsqueeze(1), momentum, -begun).view_as(batch.memory.front()));
    }
    return accepted.to(at::kDouble);
  }

  /// p²/2 [n] float64
  static at::Tensor kinetic(const at::Tensor& momentum) {
    return momentum.to(at::kDouble).square().sum(1) / 2;
  }

  SamplerConfig config_;
  Walls walls_;
  StepNumbers numbers_;
  std::function<void()> stepped_;
};

}  // namespace

std::unique_ptr<Transition> make_hmc_transition(const SamplerConfig& config, random::Key key,
                                                std::function<void()> stepped) {
  return std::make_unique<HmcTransition>(config, key, std::move(stepped));
}

}  // namespace stanley
