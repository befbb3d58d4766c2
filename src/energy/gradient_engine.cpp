#include "energy/gradient_engine.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "energy/tile_product.hpp"

namespace stanley {

int GradientEngine::working_threads(std::int64_t) const { return at::get_num_threads(); }

std::unique_ptr<GradientEngine> make_gradient_engine(const Network& network,
                                                     const EnergyConfig& config,
                                                     Precision precision, at::Device device) {
  if (config.type == EnergyType::torchscript) {
    return make_autograd_engine(network, precision, device);
  }
  if (config.type == EnergyType::convnet && device.is_cpu()) {
    return precision == Precision::bfloat16
               ? make_convnet_tile_engine(config, network.state_shape())
               : make_convnet_engine(config, network.state_shape());
  }
  if (config.type == EnergyType::resnet && device.is_cpu()) {
    return precision == Precision::bfloat16 ? make_resnet_tile_engine(config, network.state_shape())
                                            : make_resnet_engine(config, network.state_shape());
  }
#ifdef STANLEY_CUDA
  if (config.type == EnergyType::convnet && device.is_cuda() && precision == Precision::bfloat16 &&
      convnet_cuda_engine_serves(config, network.state_shape())) {
    return make_convnet_cuda_engine(config, network.state_shape(), device);
  }
#endif
  return make_layerwise_engine(config, network.state_shape(), precision, device);
}

Precision resolve_precision(Precision requested, at::Device device) {
  if (requested != Precision::automatic) return requested;
  if (device.is_cuda()) return Precision::bfloat16;
  return processor_has_tiles() ? Precision::bfloat16 : Precision::float32;
}

void choose_gpu_arithmetic() {
  at::globalContext().setDeterministicCuDNN(true);
  for (const at::Float32Op operation : {at::Float32Op::CONV, at::Float32Op::MATMUL}) {
    at::globalContext().setFloat32Precision(at::Float32Backend::CUDA, operation,
                                            at::Float32Precision::IEEE);
  }
}

}  // namespace stanley
