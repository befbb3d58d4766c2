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

  /// Fills energy [n] float64 and gradient [n, state shape] = ∇ₓE float32 of the points, whose
  /// states are float32; a null `gradient`: energies alone, in half of the time. All are
  /// contiguous, allocated by the caller, on the engine's device. The numbers of one state do not
  /// depend on the others in the batch where batch_invariant() says so.
  virtual void evaluate(const Points& points, at::Tensor& energy, at::Tensor* gradient) = 0;

  /// The rounding error of an energy, root mean square over states, relative to 1 + |E|, at most:
  /// as tests/unit/gradient_engine_test.cpp finds it.
  virtual double energy_error() const = 0;

  virtual bool batch_invariant() const = 0;

  /// Fills product [n, state shape] = ∇²E(x)·vector for each point and its vector, both like its
  /// state, where the engine has them.
  virtual bool has_hessian_products() const { return false; }
  virtual void hessian_product(const Points& points, const at::Tensor& vector, at::Tensor& product);

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
