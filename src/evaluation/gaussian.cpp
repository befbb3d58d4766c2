#include "evaluation/gaussian.hpp"

#include <ATen/ATen.h>

#include <cmath>

namespace stanley {

Gaussian fit_gaussian(const at::Tensor& features) {
  const at::Tensor mean = features.mean(0);
  at::Tensor centred = (features - mean) / std::sqrt(static_cast<double>(features.size(0) - 1));
  const double trace = centred.square().sum().item<double>();
  // R of Q·R has the same RᵀR, and as few rows as there are features.
  if (centred.size(0) > centred.size(1)) centred = std::get<1>(at::linalg_qr(centred, "r"));
  return {mean, centred.contiguous(), trace};
}

}  // namespace stanley
