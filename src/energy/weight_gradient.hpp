#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

#include "config/config.hpp"
#include "energy/network.hpp"

namespace stanley {

/// Computes gradients of energies with respect to the network's weights, for the weight update.
class WeightGradient {
 public:
  virtual ~WeightGradient() = default;

  /// Takes over new weights (Network::weights(), float32): once for each weight update.
  virtual void load(const std::vector<at::Tensor>& weights) = 0;

  /// For states [n, state shape], n ≥ 1: fills energy [n], and returns the gradients with respect
  /// to the weights, in their order and shapes, of the sum over states of constant·E + slope·E²/2,
  /// that is Σ (constantᵢ + slopeᵢ·Eᵢ)·∂Eᵢ/∂w. All float32, on the network's device, `constant` and
  /// `slope` [n]. The numbers do not depend on the number of threads.
  virtual std::vector<at::Tensor> evaluate(const at::Tensor& state, const at::Tensor& constant,
                                           const at::Tensor& slope, at::Tensor& energy) = 0;

  /// Takes the gradients of one part of the states.
  using TakePart = std::function<void(std::int64_t part, const std::vector<at::Tensor>& gradients)>;

  /// The same for each of `parts` equal parts of the states, one behind the other: what evaluate()
  /// makes of the part alone, bit by bit. Threads that one part leaves idle work on others.
  virtual void evaluate_parts(std::int64_t parts, const at::Tensor& state,
                              const at::Tensor& constant, const at::Tensor& slope,
                              at::Tensor& energy, const TakePart& take);

  /// Threads of a rank that have work on so many parts of so many states: of our own loops, or
  /// LibTorch's.
  virtual int working_threads(std::int64_t parts, std::int64_t states) const;
};

}  // namespace stanley
