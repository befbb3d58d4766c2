#include "energy/gradient_engine.hpp"

#include <ATen/ATen.h>

#include <oneapi/dnnl/dnnl.hpp>

namespace stanley {
namespace {

bool processor_has(dnnl::cpu_isa wanted) {
  const auto bits = static_cast<unsigned>(wanted);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & bits) == bits;
}

/// The convnet's own engine has oneDNN's direct convolutions in bfloat16, which need AVX-512.
bool convnet_engine_serves(Precision precision) {
  return precision == Precision::float32 || processor_has(dnnl::cpu_isa::avx512_core);
}

}  // namespace

std::unique_ptr<GradientEngine> make_gradient_engine(const Network& network,
                                                     const EnergyConfig& config,
                                                     Precision precision, at::Device device) {
  if (config.type == EnergyType::torchscript) {
    return make_autograd_engine(network, precision, device);
  }
  if (config.type == EnergyType::convnet && device.is_cpu() && convnet_engine_serves(precision)) {
    return make_convnet_engine(config, network.state_shape(), precision);
  }
  if (config.type == EnergyType::resnet && device.is_cpu() && precision == Precision::float32) {
    return make_resnet_engine(config, network.state_shape());
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
  return processor_has(dnnl::cpu_isa::avx512_core_amx) ? Precision::bfloat16 : Precision::float32;
}

void choose_gpu_arithmetic() {
  at::globalContext().setDeterministicCuDNN(true);
  for (const at::Float32Op operation : {at::Float32Op::CONV, at::Float32Op::MATMUL}) {
    at::globalContext().setFloat32Precision(at::Float32Backend::CUDA, operation,
                                            at::Float32Precision::IEEE);
  }
}

}  // namespace stanley
