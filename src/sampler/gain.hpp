#pragma once

#include <ATen/core/Tensor.h>

#include "config/config.hpp"

namespace stanley {

// The gain of STANLEY (Karimi, Xie, Li, arXiv 2310.12667): γ = th/max(th, |∇E|), element by
// element. Gradients are [n, d] float32.

/// th of each chain [n]: the configured number, or its own order statistic of |∇E|.
at::Tensor thresholds(const Threshold& threshold, const at::Tensor& gradient);

/// γ [n, d] for thresholds [n]; 1 where th = 0.
at::Tensor gains(const at::Tensor& gradient, const at::Tensor& thresholds);

/// v∘(J_γ v) [n, d], whose mean over v = ±1 is the derivative ∂γᵢ/∂zᵢ of each element (Hutchinson's
/// estimate), from `curvature` = ∇²E·v. That of th is in it where it is an order statistic, which
/// moves with the element that it is.
at::Tensor gain_slopes(const Threshold& threshold, const at::Tensor& gradient,
                       const at::Tensor& thresholds, const at::Tensor& curvature,
                       const at::Tensor& v);

}  // namespace stanley
