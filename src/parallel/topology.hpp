#pragma once

#include <string>

#include "parallel/device.hpp"

namespace stanley {

/// Collective. One line for each rank, with a heading: rank, host, rank on the host, device,
/// threads. The same text on all ranks, for the log.
std::string topology_table(const Session& session, const Device& device, int threads);

/// "cpu", or "cuda:1 NVIDIA H100 (GPU-...)"; says so if ranks share GPUs.
std::string to_string(const Device& device);

}  // namespace stanley
