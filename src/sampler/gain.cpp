#include "sampler/gain.hpp"

#include <ATen/ATen.h>

#include "sampler/device_update.hpp"

namespace stanley {

at::Tensor thresholds(const Threshold& threshold, const at::Tensor& gradient) {
  if (threshold.value) {
    return at::full({gradient.size(0)}, *threshold.value, gradient.options());
  }
  return absolute_order_statistic(gradient, quantile_rank(*threshold.quantile, gradient.size(1)));
}

at::Tensor gains(const at::Tensor& gradient, const at::Tensor& thresholds) {
  const at::Tensor th = thresholds.unsqueeze(1);
  return at::where(th == 0, at::ones({}, gradient.options()), th / at::maximum(th, gradient.abs()));
}

at::Tensor gain_slopes(const Threshold& threshold, const at::Tensor& gradient,
                       const at::Tensor& thresholds, const at::Tensor& curvature,
                       const at::Tensor& v) {
  const at::Tensor size = gradient.abs(), th = thresholds.unsqueeze(1);
  // γ = th/|g| there: its differential along v is dth/|g| − th·sign(g)·dg/g².
  const at::Tensor below_one = (size > th).logical_and(th > 0);
  at::Tensor along = -th * gradient.sign() * curvature / size.square();
  if (!threshold.value) {
    // th = |g_k| of one element k: dth = sign(g_k)·dg_k.
    const at::Tensor k = (size == th).to(at::kByte).argmax(1, true);
    along = along + (gradient.sign() * curvature).gather(1, k) / size;
  }
  return at::where(below_one, v * along, at::zeros({}, gradient.options()));
}

}  // namespace stanley
