#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <utility>

#include "energy/operation_times.hpp"
#include "sampler/device_update.hpp"
#include "sampler/gain.hpp"
#include "sampler/places.hpp"
#include "sampler/replay.hpp"
#include "sampler/transition.hpp"

namespace stanley {
namespace {

/// z ← box(z − (α/2)·γ∘∇E(z) + σ·√γ∘ξ): STANLEY (Karimi, Xie, Li, arXiv 2310.12667, algorithm 1),
/// Langevin dynamics (γ = 1) and gradient descent (γ = 1, σ = 0).
/// γ = th/max(th, |∇E|), where th is a number or each chain's order statistic of |∇E|, taken at
/// every state or held for all the steps of a call (`refresh`).
class LangevinTransition : public Transition {
 public:
  LangevinTransition(const SamplerConfig& config, random::Key key, std::function<void()> stepped)
      : config_(config), stepped_(std::move(stepped)) {
    update_.half_step = static_cast<float>(config.step_size / 2);
    update_.sigma = noise_scale(config);
    update_.key = key;
    if (config.box) {
      update_.low = static_cast<float>((*config.box)[0]);
      update_.high = static_cast<float>((*config.box)[1]);
    }
  }

  /// What describe() tells, with |∇E| and γ at the chains' states before they move, what the
  /// thermometer adds up over all the steps, and the length of the first one.
  const std::vector<Column>& columns() const override {
    static const std::vector<Column> columns{{"state_gradient_q10"},
                                             {"state_gradient_q50"},
                                             {"state_gradient_q90"},
                                             {"gain_q10"},
                                             {"gain_q50"},
                                             {"gain_q90"},
                                             {"gain_below_one"},
                                             {"gain_weighted_drift", 8},  // ‖γ∘∇E‖₁ ...
                                             {""},                        // ... of ‖∇E‖₁
                                             {"acceptance_rate"},
                                             {"temperature_settled", 11, true},
                                             {""},
                                             {"temperature_law", 13, true},
                                             {""},
                                             {"step_length"}};
    return columns;
  }

  std::int64_t gradients(std::int64_t steps) const override { return steps; }

  at::Tensor advance(GradientEngine& engine, ChainBatch& batch, std::uint64_t first_step,
                     std::int64_t steps) override {
    const c10::NoGradGuard no_gradient;
    prepare(engine, batch, steps);
    first_step_.fill_(static_cast<std::int64_t>(first_step));
    const bool own_scale = batch.step_size.defined() || batch.temperature.defined();
    take_scale(batch);
    if (!engine.repeatable() || own_scale) {
      take_steps(engine, batch, steps);
      return statistics_;
    }
    own_.state.copy_(batch.state);
    own_.ids.copy_(batch.ids);
    if (batch.condition.defined()) own_.condition.copy_(batch.condition);
    replay_.run(batch.state.device(), [&] { take_steps(engine, own_, steps); });
    batch.state.copy_(own_.state);
    if (stepped_) stepped_();
    return statistics_.clone();  // the next call writes there
  }

 private:
  bool anisotropic() const { return config_.type == TransitionType::stanley; }

  /// The chains' own α and T, where they have some.
  void take_scale(const ChainBatch& batch) {
    update_.half_steps = update_.sigmas = nullptr;
    if (!batch.step_size.defined() && !batch.temperature.defined()) return;
    const StepScale scale = scale_of(config_, batch);
    const bool quiet = config_.type == TransitionType::gradient_descent;
    half_steps_ = (scale.step_size / 2).flatten().contiguous();
    sigmas_ = (quiet ? at::zeros_like(scale.deviation) : scale.deviation).flatten().contiguous();
    update_.half_steps = half_steps_.const_data_ptr<float>();
    update_.sigmas = sigmas_.const_data_ptr<float>();
  }

  void take_steps(GradientEngine& engine, ChainBatch& batch, std::int64_t steps) {
    gain_ = threshold_ = at::Tensor();
    const std::int64_t n = batch.state.size(0);
    at::Tensor length;  // [1, n]
    sums_.zero_();
    for (std::int64_t step = 0; step < steps; ++step) {
      engine.evaluate(batch.points(), energy_, &gradient_);
      const at::Tensor rows = gradient_.view({n, -1});
      if (anisotropic() && (step == 0 || config_.refresh == Refresh::step)) {
        const Timed timed(Operation::gain);
        threshold_ = thresholds(config_.threshold, rows);
        if (config_.refresh == Refresh::iteration) gain_ = gains(rows, threshold_);
      }
      if (step == 0) statistics_ = describe(rows);
      update_.step = static_cast<std::uint64_t>(step);
      const at::Tensor before = step == 0 ? batch.state.clone() : at::Tensor();
      move(batch, rows);
      if (step == 0) length = lengths_of((batch.state - before).view({n, -1})).unsqueeze(0);
      if (stepped_) stepped_();
    }
    statistics_ = at::cat({statistics_, sums_.sum(1).t(), length});
  }

  void move(ChainBatch& batch, const at::Tensor& rows) const {
    const Timed timed(Operation::update);
    update_states(update_, batch, rows, gain_, gain_.defined() ? at::Tensor() : threshold_, sums_);
  }

  /// Buffers for this engine and batch, which a recorded graph goes on using.
  void prepare(const GradientEngine& engine, const ChainBatch& batch, std::int64_t steps) {
    const bool same = engine_ == &engine && steps_ == steps && gradient_.defined() &&
                      gradient_.sizes() == batch.state.sizes();
    if (same) return;
    engine_ = &engine;
    steps_ = steps;
    replay_ = {};
    gradient_ = at::empty_like(batch.state);
    sums_ = thermometer_sums_for(batch.state);
    energy_ = at::empty({batch.state.size(0)}, batch.state.options().dtype(at::kDouble));
    first_step_ = at::zeros({1}, batch.ids.options());
    update_.first_step = first_step_.const_data_ptr<std::int64_t>();
    if (!engine.repeatable()) return;
    own_ = {at::empty_like(batch.state), at::empty_like(batch.ids)};
    if (batch.condition.defined()) own_.condition = at::empty_like(batch.condition);
  }

  /// [columns, n]
  at::Tensor describe(const at::Tensor& rows) const {
    const at::Tensor magnitude = rows.abs(), size = magnitude.sum(1), one = at::ones_like(size);
    std::vector<at::Tensor> told;
    for (const double q : {0.1, 0.5, 0.9}) {
      told.push_back(absolute_order_statistic(rows, quantile_rank(q, rows.size(1))));
    }
    if (anisotropic()) {
      const at::Tensor current = gains(rows, threshold_);
      // γ falls as |∇E| rises: its quantiles are the gains of the mirrored quantiles of |∇E|.
      for (std::size_t i = 3; i-- > 0;) {
        told.push_back(gains(told[i].unsqueeze(1), threshold_).squeeze(1));
      }
      told.insert(told.end(),
                  {(current < 1).to(at::kFloat).mean(1), (current * magnitude).sum(1), size});
    } else {
      told.insert(told.end(), {one, one, one, at::zeros_like(size), size, size});
    }
    told.push_back(one);
    return at::stack(told).to(at::kDouble);
  }

  SamplerConfig config_;
  std::function<void()> stepped_;
  Update update_;
  at::Tensor energy_, gradient_;    // buffers, [n] float64 and [n, state shape]
  at::Tensor sums_;                 // of the steps taken so far, for the thermometer
  at::Tensor first_step_;           // [1] int64, on the chains' device
  at::Tensor threshold_, gain_;     // [n] and [n, d]; undefined where not in use
  at::Tensor half_steps_, sigmas_;  // [n]; undefined where all chains have those of the update
  at::Tensor statistics_;           // of the last call, [columns, n]

  // Where the work can be recorded: what it was recorded for, and the chains that it moves.
  Replay replay_;
  const GradientEngine* engine_ = nullptr;
  std::int64_t steps_ = 0;
  ChainBatch own_;
};

}  // namespace

float noise_scale(const SamplerConfig& config) {
  return config.type == TransitionType::gradient_descent ? 0.0F
                                                         : static_cast<float>(config.sigma());
}

std::unique_ptr<Transition> make_langevin_transition(const SamplerConfig& config, random::Key key,
                                                     std::function<void()> stepped) {
  return std::make_unique<LangevinTransition>(config, key, std::move(stepped));
}

}  // namespace stanley
