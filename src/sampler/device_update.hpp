#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "kernels/chain_update.hpp"
#include "sampler/transition.hpp"

namespace stanley {

// kernels/chain_update.hpp and kernels/order_statistic.hpp on tensors, on the device where they
// are.

/// `gradient` and `gain` [n, d], `threshold` [n], `sums` as thermometer_sums_for() makes them;
/// undefined tensors stand for null.
void update_states(const Update& update, const ChainBatch& batch, const at::Tensor& gradient,
                   const at::Tensor& gain, const at::Tensor& threshold,
                   const at::Tensor& sums = {});

/// Zeros [n, parts, thermometer_sums] float64 for chains [n, state shape], on their device: updates
/// add to them, and a chain's sums are those over its parts.
at::Tensor thermometer_sums_for(const at::Tensor& state);

/// The k-th smallest (k = 1 … d) of each row's absolute values: values [n, d] float32 -> [n],
/// exact, on the device of `values`. A NaN counts as larger than every number.
at::Tensor absolute_order_statistic(const at::Tensor& values, std::int64_t k);

/// ⌈q·d⌉, at least 1: the rank that stands for the quantile q of d values (design, "threshold").
std::int64_t quantile_rank(double q, std::int64_t d);

/// Returns when all work queued on the device is done: before a clock is read.
void wait_for(at::Device device);

/// The most memory that LibTorch has held on a GPU so far, in bytes; none for the CPU.
std::optional<double> peak_memory(at::Device device);

/// batch.state ← scale·ξ.
void fill_normal(random::Key key, std::uint64_t step, float scale, const ChainBatch& batch);

/// batch.state ← uniform in [low, high].
void fill_uniform(random::Key key, std::uint64_t step, float low, float high,
                  const ChainBatch& batch);

}  // namespace stanley
