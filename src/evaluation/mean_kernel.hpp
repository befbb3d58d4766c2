#pragma once

#include <ATen/core/Tensor.h>

#include "parallel/communicator.hpp"

namespace stanley {

// The means that KID is made of where nothing else is wanted of draws x and images y of chains of
// their own each (Gretton et al. 2012, eq. 3): within(x) + within(y) − 2 across(x, y). Features are
// float64, the same on all ranks, which share the work; no bit depends on ranks or threads.

/// Collective. Mean of k(x, x′) over all pairs of two different rows of x [n, d]; NaN where there
/// is but one.
double mean_kernel_within(const at::Tensor& x, Communicator& communicator);

/// Collective. Mean of k(x, y) over all rows of x [n, d] and y [m, d].
double mean_kernel_across(const at::Tensor& x, const at::Tensor& y, Communicator& communicator);

}  // namespace stanley
