#include "train/chain_motion.hpp"

#include <fmt/format.h>

#include <cmath>

#include "sampler/transition.hpp"

namespace stanley {
namespace {

/// Chains that move less than this share of the data's spread in a visit stand still: even float32
/// resolves no more of a state.
constexpr double least_move = 1e-6;
/// A drift below this share of the noise, both over a visit, is not felt in any number of visits
/// that a training has.
constexpr double least_drift = 1e-6;
/// Of what the data leave free of the box's faces, chains that are thrown about leave less free.
constexpr double least_free = 0.05;

}  // namespace

std::vector<std::string> motion_complaints(const IterationRecord& record,
                                           const SamplerConfig& sampler, const ChainScale& scale) {
  std::vector<std::string> complaints;
  const double root_mean_square =
      record.distance_moved / std::sqrt(static_cast<double>(scale.dimension));
  if (root_mean_square < least_move * scale.spread) {
    return {fmt::format(
        "the chains stand still: a visit moves their elements by {:.2g}, and the data's spread is "
        "{:.2g}; raise sampler.step_size, sampler.noise (or temperature) or sampler.threshold",
        root_mean_square, scale.spread)};
  }
  const auto steps = static_cast<double>(sampler.steps);
  const double drift = steps * sampler.step_size / 2 * record.state_gradient_q90;
  const double noise = std::sqrt(steps) * static_cast<double>(noise_scale(sampler));
  if (noise > 0 && drift < least_drift * noise) {
    complaints.push_back(fmt::format(
        "the chains feel noise alone: a visit's drift is {:.2g} at most, its noise {:.2g}; raise "
        "sampler.step_size or lower sampler.noise (or temperature)",
        drift, noise));
  }
  if (sampler.box && noise > (*sampler.box)[1] - (*sampler.box)[0] &&
      1 - record.saturation < least_free * (1 - scale.saturation)) {
    complaints.push_back(fmt::format(
        "the noise throws the chains at the box: {:.1f} % of their elements lie on its faces, and "
        "a visit's noise is {:.2g} in a box that is {:.2g} wide; lower sampler.noise (or "
        "temperature)",
        100 * record.saturation, noise, (*sampler.box)[1] - (*sampler.box)[0]));
  }
  return complaints;
}

}  // namespace stanley
