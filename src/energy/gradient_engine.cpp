#include "energy/gradient_engine.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cstdlib>
#include <string_view>

#include "config/cublas_workspace.hpp"
#include "config/error.hpp"
#include "energy/tile_product.hpp"

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

int GradientEngine::working_threads(std::int64_t) const { return at::get_num_threads(); }

std::unique_ptr<GradientEngine> make_gradient_engine(const Network& network,
                                                     const EnergyConfig& config,
                                                     Precision precision, at::Device device) {
  if (config.type == EnergyType::torchscript) {
    return make_autograd_engine(network, precision, device);
  }
  const Plan* plan = network.plan();
  const bool bfloat16 = precision == Precision::bfloat16;
  if (plan && device.is_cpu()) {
    return bfloat16 ? make_tile_engine(*plan) : make_winograd_engine(*plan);
  }
#ifdef STANLEY_CUDA
  if (plan && bfloat16 && convnet_cuda_engine_serves(*plan)) {
    return make_convnet_cuda_engine(*plan, device);
  }
#endif
  return make_layerwise_engine(config, network, precision, device);
}

Precision resolve_precision(Precision requested, EnergyType type, at::Device device) {
  if (requested != Precision::automatic) return requested;
  if (type == EnergyType::mlp || type == EnergyType::torchscript) return Precision::float32;
  if (device.is_cuda()) return Precision::bfloat16;
  return processor_has_tiles() ? Precision::bfloat16 : Precision::float32;
}

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
