#pragma once

#include <ATen/ATen.h>

#include "energy/gradient_engine.hpp"

namespace stanley {

/// What an engine, or LibTorch's autograd, makes of a batch of states.
struct Result {
  at::Tensor energy, gradient;
};

inline Result evaluate(GradientEngine& engine, const at::Tensor& state) {
  Result result{at::empty({state.size(0)}), at::empty_like(state)};
  engine.evaluate(state, result.energy, result.gradient);
  return result;
}

}  // namespace stanley
