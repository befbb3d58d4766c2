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
  const StateShape& shape = network.state_shape();
  const bool bfloat16 = precision == Precision::bfloat16;
  // Without a default: the compiler names a type that is forgotten here.
  switch (config.type) {
    case EnergyType::torchscript:
      return make_autograd_engine(network, precision, device);
    case EnergyType::convnet:
      if (device.is_cpu()) {
        return bfloat16 ? make_convnet_tile_engine(config, shape)
                        : make_convnet_engine(config, shape);
      }
#ifdef STANLEY_CUDA
      if (bfloat16 && convnet_cuda_engine_serves(config, shape)) {
        return make_convnet_cuda_engine(config, shape, device);
      }
#endif
      break;
    case EnergyType::resnet:
      if (device.is_cpu()) {
        return bfloat16 ? make_resnet_tile_engine(config, shape)
                        : make_resnet_engine(config, shape);
      }
      break;
    case EnergyType::mlp:
      break;
  }
  return make_layerwise_engine(config, shape, precision, device);
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
