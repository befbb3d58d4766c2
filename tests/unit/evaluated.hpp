#pragma once

#include <ATen/ATen.h>

#include "energy/gradient_engine.hpp"

namespace stanley {

/// What an engine, or LibTorch's autograd, makes of a batch of states.
struct Result {
  at::Tensor energy, gradient;
};

/// On the engine's device; the state and the result are on the host.
inline Result evaluate(GradientEngine& engine, const at::Tensor& state,
                       at::Device device = at::kCPU) {
  const at::Tensor there = state.to(device);
  Result result{at::empty({state.size(0)}, there.options().dtype(at::kDouble)),
                at::empty_like(there)};
  engine.evaluate(there, result.energy, &result.gradient);
  return {result.energy.cpu(), result.gradient.cpu()};
}

}  // namespace stanley
