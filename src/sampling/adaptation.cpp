#include "sampling/adaptation.hpp"

#include <cmath>

namespace stanley {

StepAdaptation::StepAdaptation(std::int64_t shards, double step_size, double target)
    : shards_(shards), shrink_towards_(std::log(10 * step_size)), target_(target) {
  for (std::int64_t shard = 0; shard < shards; ++shard) {
    state_.insert(state_.end(), {0.0, 0.0, std::log(step_size), std::log(step_size)});
  }
}

void StepAdaptation::observe(const std::vector<double>& acceptance) {
  constexpr double gamma = 0.05, offset = 10, kappa = 0.75;
  for (std::size_t shard = 0; shard < acceptance.size(); ++shard) {
    double* const one = state_.data() + kept * static_cast<std::int64_t>(shard);
    const double t = ++one[0], share = 1 / (t + offset), weight = std::pow(t, -kappa);
    one[1] = (1 - share) * one[1] + share * (target_ - acceptance[shard]);
    one[2] = shrink_towards_ - std::sqrt(t) / gamma * one[1];
    one[3] = weight * one[2] + (1 - weight) * one[3];
  }
}

std::vector<double> StepAdaptation::step_sizes() const {
  std::vector<double> sizes;
  for (std::int64_t i = 0; i < shards_; ++i) {
    sizes.push_back(std::exp(state_[static_cast<std::size_t>(kept * i + 2)]));
  }
  return sizes;
}

std::vector<double> StepAdaptation::final_step_sizes() const {
  std::vector<double> sizes;
  for (std::int64_t i = 0; i < shards_; ++i) {
    sizes.push_back(std::exp(state_[static_cast<std::size_t>(kept * i + 3)]));
  }
  return sizes;
}

}  // namespace stanley
