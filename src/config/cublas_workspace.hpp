#pragma once

#include <cstdlib>

namespace stanley {

/// The variable from which cuBLAS takes its workspace.
inline constexpr const char* cublas_workspace = "CUBLAS_WORKSPACE_CONFIG";

/// Sets it, where the user has not, to one with which cuBLAS gives the same bits each time. Call it
/// before CUDA is used, and before there are threads that may read the environment.
inline void choose_cublas_workspace() { ::setenv(cublas_workspace, ":4096:8", 0); }

}  // namespace stanley
