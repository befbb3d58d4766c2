#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "config/config.hpp"
#include "energy/network.hpp"
#include "parallel/shards.hpp"

namespace stanley {

/// Probes of the energy of plain noise, uniform in the box, for each shard: enough for a curve, too
/// few to cost.
constexpr std::int64_t noise_probes_per_shard = 4;

/// Σ E over the probes of these shards in `iteration`, which are computed in as many parts: one for
/// each shard where every batch must have the same shape whatever the number of ranks.
double noise_energy(const Config& config, const Network& network, const Shards& shards,
                    std::int64_t parts, std::uint32_t attempt, std::int64_t iteration,
                    at::Device device);

}  // namespace stanley
