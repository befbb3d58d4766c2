#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "energy/network.hpp"

namespace stanley {

/// Computes energies and their gradients with respect to the state for the chains: all but a few
/// per cent of a training's arithmetic. It never computes gradients of weights.
class GradientEngine {
 public:
  virtual ~GradientEngine() = default;

  /// Takes over new weights (Network::weights(), float32): once for each weight update, not for
  /// each chain step.
  virtual void load(const std::vector<at::Tensor>& weights) = 0;

  /// Fills energy [n] and gradient [n, state shape] = ∇ₓE of state [n, state shape]; all three
  /// float32, contiguous, allocated by the caller, on the engine's device. The numbers of one state
  /// do not depend on the others in the batch where batch_invariant() says so.
  virtual void evaluate(const at::Tensor& state, at::Tensor& energy, at::Tensor& gradient) = 0;

  virtual bool batch_invariant() const = 0;

  /// The most states that evaluate() takes at once.
  virtual std::int64_t largest_batch() const { return std::numeric_limits<std::int64_t>::max(); }

  /// Whether evaluate() queues the same work on the same memory each time that it gets the same
  /// tensors, whatever was loaded, and waits for nothing: such work can be recorded as a CUDA
  /// graph.
  virtual bool repeatable() const { return false; }

  /// Threads of a rank that have work on so many states: of our own loops, or LibTorch's.
  virtual int working_threads(std::int64_t states) const;

  /// In words, for the log: "Winograd float32" or "autograd bfloat16, TorchScript energy.pt".
  virtual std::string description() const = 0;
};

}  // namespace stanley
