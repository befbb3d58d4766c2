#pragma once

#include <string>

#include "parallel/device.hpp"

namespace stanley {

/// Collective. One line for each rank, with a heading: rank, host, rank on the host, device,
/// threads. The same text on all ranks, for the log.
std::string topology_table(const Session& session, const Device& device, int threads);

/// This host's processor as Linux names it: "AMD EPYC 7763 64-Core Processor"; empty where it
/// doesn't.
std::string processor_name();

/// "cpu", or "cuda:1 NVIDIA H100 (GPU-...)"; says so if ranks share GPUs.
std::string to_string(const Device& device);

}  // namespace stanley
