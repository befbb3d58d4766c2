#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "kernels/chain_update.hpp"
#include "sampler/transition.hpp"

namespace stanley {

/// kernels/chain_update.hpp on tensors, on the device where they are. `gradient` and `gain` [n, d],
/// `threshold` [n]; undefined tensors stand for null.
void update_states(const Update& update, const ChainBatch& batch, const at::Tensor& gradient,
                   const at::Tensor& gain, const at::Tensor& threshold);

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
