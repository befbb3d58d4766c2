#include "energy/gradient_engine.hpp"

#include <ATen/ATen.h>

#include <oneapi/dnnl/dnnl.hpp>

namespace stanley {

std::unique_ptr<GradientEngine> make_gradient_engine(const Network& network,
                                                     const EnergyConfig& config,
                                                     Precision precision, at::Device device) {
  if (config.type == EnergyType::convnet && device.is_cpu()) {
    return make_convnet_engine(config, network.state_shape(), precision);
  }
  if (config.type == EnergyType::torchscript) {
    return make_autograd_engine(network, precision, device);
  }
  if (config.type == EnergyType::resnet && device.is_cpu() && precision == Precision::float32) {
    return make_resnet_engine(config, network.state_shape());
  }
  return make_autograd_engine(network, precision, device);
}

Precision resolve_precision(Precision requested, at::Device device) {
  if (requested != Precision::automatic) return requested;
  if (device.is_cuda()) return Precision::bfloat16;
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::avx512_core_amx:
      return Precision::bfloat16;
    default:
      return Precision::float32;
  }
}

}  // namespace stanley
