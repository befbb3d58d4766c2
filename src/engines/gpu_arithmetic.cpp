#include "engines/gpu_arithmetic.hpp"

#include <ATen/Context.h>

#include <cstdlib>
#include <string>
#include <string_view>

#include "config/error.hpp"

namespace stanley {
namespace {

/// A user's own value may be one with which products differ from time to time.
void check_cublas_workspace() {
  choose_cublas_workspace();
  const std::string_view value = std::getenv(cublas_workspace);
  if (value == ":4096:8" || value == ":16:8") return;
  throw Error(ExitCode::environment,
              std::string(cublas_workspace) + " is '" + std::string(value) +
                  "', with which a GPU need not repeat its bits: set it to :4096:8 or :16:8, or "
                  "unset it");
}

}  // namespace

void choose_cublas_workspace() { ::setenv(cublas_workspace, ":4096:8", 0); }

void choose_gpu_arithmetic() {
  check_cublas_workspace();
  at::globalContext().setDeterministicCuDNN(true);
  at::globalContext().setDeterministicAlgorithms(true, false);
  // Else each at::empty() would write all its memory.
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  for (const at::Float32Op operation : {at::Float32Op::CONV, at::Float32Op::MATMUL}) {
    at::globalContext().setFloat32Precision(at::Float32Backend::CUDA, operation,
                                            at::Float32Precision::IEEE);
  }
}

}  // namespace stanley
