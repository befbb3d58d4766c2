#include "sampler/langevin.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <limits>
#include <utility>

#include "energy/operation_times.hpp"
#include "sampler/device_update.hpp"
#include "sampler/order_statistic.hpp"

namespace stanley {
namespace {

constexpr double recorded_quantiles[3] = {0.1, 0.5, 0.9};

/// Sum of a value per chain, in chain order: the same for every number of threads.
double sum_of(const at::Tensor& per_chain) {
  const at::Tensor host = per_chain.to(at::kCPU, at::kDouble).contiguous();
  const auto* values = host.const_data_ptr<double>();
  double sum = 0;
  for (std::int64_t i = 0; i < host.numel(); ++i) sum += values[i];
  return sum;
}

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

  ChainRecord advance(GradientEngine& engine, ChainBatch& batch, std::uint64_t first_step,
                      std::int64_t steps) override {
    const c10::NoGradGuard no_gradient;
    const std::int64_t n = batch.state.size(0);
    prepare(batch.state);
    ChainRecord record;
    for (std::int64_t step = 0; step < steps; ++step) {
      engine.evaluate(batch.state, energy_, gradient_);
      const at::Tensor rows = gradient_.view({n, -1});
      if (anisotropic() && (step == 0 || config_.refresh == Refresh::step)) {
        const Timed timed(Operation::gain);
        threshold_ = thresholds(rows);
        if (config_.refresh == Refresh::iteration) gain_ = gain(rows);
      }
      if (step == 0) record = describe(rows);
      update_.step = first_step + static_cast<std::uint64_t>(step);
      move(batch, rows);
      if (stepped_) stepped_();
    }
    return record;
  }

 private:
  bool anisotropic() const { return config_.type == TransitionType::stanley; }

  void move(ChainBatch& batch, const at::Tensor& rows) const {
    const Timed timed(Operation::update);
    update_states(update_, batch, rows, gain_, gain_.defined() ? at::Tensor() : threshold_);
  }

  void prepare(const at::Tensor& state) {
    gain_ = threshold_ = at::Tensor();
    if (gradient_.defined() && gradient_.sizes() == state.sizes()) return;
    gradient_ = at::empty_like(state);
    energy_ = at::empty({state.size(0)}, state.options());
  }

  /// [n, d] -> th for each chain, [n].
  at::Tensor thresholds(const at::Tensor& rows) const {
    if (config_.threshold.value) {
      return at::full({rows.size(0)}, *config_.threshold.value, rows.options());
    }
    return absolute_order_statistic(rows, quantile_rank(*config_.threshold.quantile, rows.size(1)));
  }

  /// γ [n, d]; 1 where th = 0.
  at::Tensor gain(const at::Tensor& rows) const {
    const at::Tensor th = threshold_.unsqueeze(1);
    return at::where(th == 0, at::ones({}, rows.options()), th / at::maximum(th, rows.abs()));
  }

  ChainRecord describe(const at::Tensor& rows) const {
    ChainRecord record;
    record.chains = static_cast<double>(rows.size(0));
    record.energy = sum_of(energy_);
    record.acceptance = record.chains;
    const at::Tensor magnitude = rows.abs();
    at::Tensor quantiles[3];
    for (std::size_t i = 0; i < 3; ++i) {
      quantiles[i] =
          absolute_order_statistic(rows, quantile_rank(recorded_quantiles[i], rows.size(1)));
      record.gradient_quantile[i] = sum_of(quantiles[i]);
    }
    record.gradient = sum_of(magnitude.sum(1));
    if (!anisotropic()) {
      for (double& quantile : record.gain_quantile) quantile = record.chains;
      record.drift = record.gradient;
      return record;
    }
    const at::Tensor current = gain(rows);
    record.drift = sum_of((current * magnitude).sum(1));
    record.gain_below_one = sum_of((current < 1).to(at::kFloat).mean(1));
    // γ falls as |∇E| rises: its quantiles are the gains of the mirrored quantiles of |∇E|.
    for (std::size_t i = 0; i < 3; ++i) {
      record.gain_quantile[i] = sum_of(gain(quantiles[2 - i].unsqueeze(1)));
    }
    return record;
  }

  SamplerConfig config_;
  std::function<void()> stepped_;
  Update update_;
  at::Tensor energy_, gradient_;  // buffers, [n] and [n, state shape]
  at::Tensor threshold_, gain_;   // [n] and [n, d]; undefined where not in use
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
