#pragma once

#include <ATen/core/Tensor.h>

namespace stanley {

/// The Gaussian with the mean and the covariance (n − 1) of some features.
struct Gaussian {
  at::Tensor mean;    ///< [d] float64
  at::Tensor factor;  ///< [min(n, d), d] float64: factorᵀ · factor is the covariance
  double trace = 0;   ///< of the covariance
};

/// Of features [n, d] float64, n ≥ 2.
Gaussian fit_gaussian(const at::Tensor& features);

}  // namespace stanley
