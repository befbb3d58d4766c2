#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "config/config.hpp"
#include "parallel/device.hpp"
#include "parallel/reducer.hpp"
#include "parallel/session.hpp"

namespace stanley {

/// What a rank computes with, decided from the configuration.
struct ComputeSetup {
  Device device;
  at::Device torch_device;
  Precision precision;
  int threads;
};

/// Throws Error(configuration) where there are more ranks than shards.
void require_shards(const Config& config, const Session& session);

/// Collective. Chooses the device, the chains' precision and the threads, and tells LibTorch.
/// Errors: environment; as require_shards().
ComputeSetup set_up(const Config& config, Session& session);

/// Collective. Sums gradients over the session's ranks, in shard order if `run.reproducible`.
std::unique_ptr<Reducer> reducer_for(const Config& config, const ComputeSetup& setup,
                                     Session& session);

}  // namespace stanley
