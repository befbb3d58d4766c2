#pragma once

#include "parallel/device.hpp"

namespace stanley {

/// Looks for a driver and GPUs, unless the CPU is requested. Never throws: what is missing is said
/// in `problem`.
CudaSight look_for_cuda(DeviceKind requested);

/// Makes device.index this thread's current CUDA device and fills in its name and UUID.
void use_cuda_device(Device& device);

}  // namespace stanley
