#pragma once

#include <cuda_runtime.h>

#include <string>

#include "config/error.hpp"

namespace stanley {

/// Throws Error(environment) where the last launch failed, or the call that returned `status`.
inline void check_launch(const char* what, cudaError_t status = cudaGetLastError()) {
  if (status == cudaSuccess) return;
  throw Error(ExitCode::environment, std::string("the GPU refused to start ") + what + ": " +
                                         cudaGetErrorString(status) +
                                         "; check the driver and that the device is free");
}

}  // namespace stanley
