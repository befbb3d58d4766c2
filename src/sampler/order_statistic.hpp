#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace stanley {

/// The k-th smallest (k = 1 … d) of each row's absolute values: values [n, d] float32 -> [n],
/// exact, on the device of `values`. A NaN counts as larger than every number.
at::Tensor absolute_order_statistic(const at::Tensor& values, std::int64_t k);

/// ⌈q·d⌉, at least 1: the rank that stands for the quantile q of d values (design, "threshold").
std::int64_t quantile_rank(double q, std::int64_t d);

}  // namespace stanley
