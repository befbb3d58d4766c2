#pragma once

#include <ATen/core/Tensor.h>

#include "sampler/transition.hpp"
#include "sampler/update.hpp"

namespace stanley {

/// sampler/update.hpp on tensors, on the device where they are. `gradient` and `gain` [n, d],
/// `threshold` [n]; undefined tensors stand for null.
void update_states(const Update& update, const ChainBatch& batch, const at::Tensor& gradient,
                   const at::Tensor& gain, const at::Tensor& threshold);

/// batch.state ← scale·ξ.
void fill_normal(random::Key key, std::uint64_t step, float scale, const ChainBatch& batch);

/// batch.state ← uniform in [low, high].
void fill_uniform(random::Key key, std::uint64_t step, float low, float high,
                  const ChainBatch& batch);

}  // namespace stanley
