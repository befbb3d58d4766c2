#include "train/guard.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace stanley {
namespace {

/// Least deviations: of the logarithm of a norm, and of a gap for each unit of energy.
constexpr double gradient_floor = 0.05, gap_floor = 1e-3;
/// Chains are all alike below this share of the data's spread, ...
constexpr double least_spread = 0.02;
/// ... stick to the box above this share of elements on its faces, ...
constexpr double most_saturation = 0.995;
/// ... keep up with the energy below this share of the way from data to noise, in energy (runs that
/// learn stay below 0.16), ...
constexpr double small_lag = 0.25;
/// ... and are left behind, once they have kept up, above this one.
constexpr double most_lag = 0.6;

}  // namespace

std::optional<Divergence> Guard::observe(const IterationRecord& record) {
  const bool finite = std::isfinite(record.loss) && std::isfinite(record.gradient_norm) &&
                      std::isfinite(record.parameter_norm) && std::isfinite(record.chain_scale);
  if (!finite) {
    return Divergence{
        fmt::format("numbers that are not finite: loss {}, norm of the gradient {}, "
                    "of the parameters {}, scale of the chains {}",
                    record.loss, record.gradient_norm, record.parameter_norm, record.chain_scale),
        "lower optimizer.learning_rate or sampler.step_size"};
  }
  if (!config_.enabled) return std::nullopt;
  const std::optional<Divergence> found = judge(record);
  if (found && ++out_ >= config_.patience) return found;
  // What is out of band must not widen it.
  if (found) return std::nullopt;
  out_ = 0;
  gap_.add(record.gap);
  // The energy of plain noise need not be a number: one that isn't must not stay in the mean.
  if (std::isfinite(record.energy_noise)) reach_.add(record.energy_noise - record.energy_data);
  gradient_.add(std::log(std::max(record.gradient_norm, 1e-30)));
  const bool judged = gap_.count >= static_cast<double>(config_.warmup);
  kept_up_ = kept_up_ || (judged && reach_.mean > 0 && gap_.mean < small_lag * reach_.mean);
  return std::nullopt;
}

std::optional<Divergence> Guard::judge(const IterationRecord& record) const {
  if (gap_.count < static_cast<double>(config_.warmup)) return std::nullopt;
  const double scale = 1 + std::abs(record.energy_data) + std::abs(gap_.mean);
  if (const double far = gap_.deviations(record.gap, gap_floor * scale); far > config_.deviations) {
    return Divergence{
        fmt::format("the gap is {:.4g}, {:.0f} running deviations from its mean {:.4g}", record.gap,
                    far, gap_.mean),
        "lower optimizer.learning_rate, or raise sampler.steps or objective.energy_penalty"};
  }
  const double norm = std::log(std::max(record.gradient_norm, 1e-30));
  if (const double far = gradient_.deviations(norm, gradient_floor);
      norm > gradient_.mean && far > config_.deviations) {
    return Divergence{
        fmt::format("the gradient's norm is {:.3g}, {:.0f} running deviations (of its logarithm) "
                    "above {:.3g}",
                    record.gradient_norm, far, std::exp(gradient_.mean)),
        "lower optimizer.learning_rate or set optimizer.gradient_clip"};
  }
  // One chain alone has no spread.
  if (scale_.active_chains > 1 && record.chain_spread < least_spread * scale_.spread) {
    return Divergence{fmt::format("the chains became alike: their spread is {:.3g}, the data's "
                                  "{:.3g}",
                                  record.chain_spread, scale_.spread),
                      "lower sampler.step_size or raise sampler.noise"};
  }
  // Strokes on an empty page lie on the box too: what counts is what the data leave free.
  if (1 - record.saturation < (1 - most_saturation) * (1 - scale_.saturation)) {
    return Divergence{
        fmt::format("{:.1f} % of the chains' elements stick to the box", 100 * record.saturation),
        "lower sampler.step_size or optimizer.learning_rate"};
  }
  if (kept_up_ && reach_.mean > 0 && gap_.mean > most_lag * reach_.mean) {
    return Divergence{
        fmt::format("the chains can't keep up: their energy is {:.0f} % of the way from the data's "
                    "to plain noise's",
                    100 * gap_.mean / reach_.mean),
        "raise sampler.steps or sampler.step_size, or lower optimizer.learning_rate"};
  }
  return std::nullopt;
}

void Guard::add_to(Progress& progress) const {
  progress["guard_count"] = gap_.count;
  progress["guard_gap_mean"] = gap_.mean;
  progress["guard_gap_variance"] = gap_.variance;
  progress["guard_reach_mean"] = reach_.mean;
  progress["guard_gradient_mean"] = gradient_.mean;
  progress["guard_gradient_variance"] = gradient_.variance;
  progress["guard_out_of_band"] = out_;
  progress["guard_kept_up"] = std::int64_t{kept_up_};
}

void Guard::restore(const Progress& progress) {
  if (!progress.contains("guard_count")) return;
  const auto number = [&](const char* name) { return real_of(progress, name); };
  gap_.count = gradient_.count = reach_.count = number("guard_count");
  gap_.mean = number("guard_gap_mean");
  gap_.variance = number("guard_gap_variance");
  reach_.mean = number("guard_reach_mean");
  gradient_.mean = number("guard_gradient_mean");
  gradient_.variance = number("guard_gradient_variance");
  out_ = integer_of(progress, "guard_out_of_band");
  kept_up_ = integer_of(progress, "guard_kept_up") != 0;
}

}  // namespace stanley
