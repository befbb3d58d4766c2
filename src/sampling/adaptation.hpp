#pragma once

#include <cstdint>
#include <vector>

#include "storage/array.hpp"

namespace stanley {

/// Dual averaging of log α to a target acceptance (Nesterov 2009; Hoffman and Gelman, arXiv
/// 1111.4246, section 3.2, with γ = 0.05, t₀ = 10, κ = 0.75): each shard its own α, from its own
/// chains alone, so that nothing depends on the ranks.
class StepAdaptation {
 public:
  /// Of so many shards, all at α₀ = `step_size`.
  StepAdaptation(std::int64_t shards, double step_size, double target);

  /// A step at step_sizes() after which these shares of each shard's chains had accepted.
  void observe(const std::vector<double>& acceptance);

  /// α of each shard in the warm-up, and after it: the weighted mean of those that went before.
  std::vector<double> step_sizes() const;
  std::vector<double> final_step_sizes() const;

  /// What a checkpoint keeps, [shards, 4] float64; to be filled when a run goes on.
  std::vector<double>& state() { return state_; }

 private:
  static constexpr std::int64_t kept = 4;  // steps, H̄, log α, its mean
  std::int64_t shards_;
  double shrink_towards_, target_;
  std::vector<double> state_;
};

}  // namespace stanley
