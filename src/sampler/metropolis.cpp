#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <utility>

#include "sampler/places.hpp"
#include "sampler/proposal.hpp"
#include "sampler/transition.hpp"
#include "sampler/walls.hpp"

namespace stanley {
namespace {

/// Steps of a proposal. With the correction of Metropolis and Hastings their law is exp(−E/T):
/// z′ replaces z with the probability min(1, exp(−(E(z′) − E(z))/T)·q(z | z′)/q(z′ | z)), and at
/// walls z′ is reflected; a z′ of no finite energy is never taken. Without it z′ always does, and
/// is projected into the box.
class ProposedTransition final : public Transition {
 public:
  ProposedTransition(const SamplerConfig& config, random::Key key, std::function<void()> stepped)
      : config_(config),
        walls_(config.box),
        numbers_(key),
        stepped_(std::move(stepped)),
        proposal_(make_proposal(config)) {}

  std::vector<Memory> memory() const override { return proposal_->memory(); }
  const std::vector<Column>& columns() const override {
    return told_columns(proposal_->takes_gradient());
  }
  void freeze() override { adapting_ = false; }
  /// That of z′ is kept for the next step; the first one's is not there yet.
  std::int64_t gradients(std::int64_t steps) const override {
    return proposal_->takes_gradient() ? steps + 1 : 0;
  }

  at::Tensor advance(GradientEngine& engine, ChainBatch& batch, std::uint64_t first_step,
                     std::int64_t steps) override {
    const c10::NoGradGuard no_gradient;
    const Places places(engine, batch, proposal_->takes_gradient(), proposal_->takes_signs());
    const at::Tensor start = batch.state.flatten(1);
    const StepScale scale = scale_of(config_, batch);
    Place here = places.at(start);
    if (config_.metropolis) check_precision(engine, here.energy, scale);
    at::Tensor accepted = at::zeros_like(here.energy), told, length;
    for (std::int64_t k = 0; k < steps; ++k) {
      const std::uint64_t step = first_step + static_cast<std::uint64_t>(k);
      const StepDraw draw = draw_of(scale, batch.ids, step, start.size(1));
      places.look_along(here, draw.signs);
      proposal_->begin(here, batch.memory, adapting_);
      if (k == 0 && proposal_->takes_gradient()) told = told_of(here, config_);
      const at::Tensor before = here.state;
      const at::Tensor moved = config_.metropolis ? correct(places, here, draw, batch.ids, step)
                                                  : take(places, here, draw);
      if (k == 0) length = lengths_of(here.state - before);
      accepted.add_(moved);
      if (stepped_) stepped_();
    }
    batch.state.copy_(here.state.view_as(batch.state));
    const at::Tensor own = at::stack({accepted / static_cast<double>(steps), length});
    return told.defined() ? at::cat({own, told}) : own;
  }

 private:
  StepDraw draw_of(const StepScale& scale, const at::Tensor& ids, std::uint64_t step,
                   std::int64_t dimension) const {
    StepDraw draw{scale, numbers_.normals(ids, step, dimension)};
    if (proposal_->takes_signs()) draw.signs = numbers_.signs(ids, step, dimension);
    if (proposal_->takes_uniforms()) draw.uniforms = numbers_.uniforms(ids, step, dimension);
    return draw;
  }

  /// Moves the chains that accept; which do, as 1 and 0 [n].
  at::Tensor correct(const Places& places, Place& here, const StepDraw& draw, const at::Tensor& ids,
                     std::uint64_t step) const {
    Place there = places.at(walls_.fold(proposal_->propose(here, draw)));
    places.look_along(there, draw.signs);
    const at::Tensor temperature = draw.scale.temperature.squeeze(1).to(at::kDouble),
                     log_ratio = (here.energy - there.energy) / temperature +
                                 proposal_->log_ratio(here, there, draw),
                     accepted = (numbers_.log_uniforms(ids, step) < log_ratio)  // not where NaN
                                    .logical_and(there.energy.isfinite());
    places.move(here, there, accepted);
    return accepted.to(at::kDouble);
  }

  at::Tensor take(const Places& places, Place& here, const StepDraw& draw) const {
    at::Tensor to = proposal_->propose(here, draw);
    if (config_.box) to = to.clamp((*config_.box)[0], (*config_.box)[1]);
    here = places.at(to);
    return at::ones_like(here.energy);
  }

  SamplerConfig config_;
  Walls walls_;
  StepNumbers numbers_;
  std::function<void()> stepped_;
  std::unique_ptr<Proposal> proposal_;
  bool adapting_ = true;
};

}  // namespace

std::unique_ptr<Transition> make_proposed_transition(const SamplerConfig& config, random::Key key,
                                                     std::function<void()> stepped) {
  return std::make_unique<ProposedTransition>(config, key, std::move(stepped));
}

}  // namespace stanley
