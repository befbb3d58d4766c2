#pragma once

namespace stanley {

/// The variable from which cuBLAS takes its workspace.
inline constexpr const char* cublas_workspace = "CUBLAS_WORKSPACE_CONFIG";

/// Sets it, where the user has not, to one with which cuBLAS gives the same bits each time. Call it
/// before CUDA is used, and before there are threads that may read the environment.
void choose_cublas_workspace();

/// Tells LibTorch to take, of a GPU's operations, only those that give the same bits each time,
/// which a resumed run needs, and to compute in float32 where that is asked for, not in TF32. For
/// runs on a GPU alone: it also refuses some operations of the CPU. What a user's energy does
/// beside those fails where it is evaluated, in LibTorch's words, for as_error() to translate.
/// Throws Error(environment) where the user's CUBLAS_WORKSPACE_CONFIG stands against it.
void choose_gpu_arithmetic();

}  // namespace stanley
