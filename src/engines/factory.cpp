#include "engines/factory.hpp"

#include "config/error.hpp"
#include "kernels/instruction_sets.hpp"

namespace stanley {

std::unique_ptr<GradientEngine> make_gradient_engine(const Network& network,
                                                     const EnergyConfig& config,
                                                     Precision precision, at::Device device,
                                                     bool hessian_products) {
  if (config.type == EnergyType::torchscript || network.conditional() || hessian_products) {
    return make_autograd_engine(network, precision, device);
  }
  const Plan* plan = network.plan();
  const bool bfloat16 = precision == Precision::bfloat16;
  if (plan && device.is_cpu()) {
    return bfloat16 ? make_amx_engine(*plan) : make_winograd_engine(*plan);
  }
#ifdef STANLEY_CUDA
  if (plan && bfloat16 && convnet_cuda_engine_serves(*plan)) {
    return make_convnet_cuda_engine(*plan, device);
  }
#endif
  return make_layerwise_engine(config, network, precision, device);
}

std::unique_ptr<WeightGradient> make_weight_gradient(const Network& network,
                                                     const EnergyConfig& config,
                                                     Precision precision, at::Device device) {
  if (network.conditional()) {
    throw Error(ExitCode::bug, "the weights of a conditional energy have no gradients yet");
  }
  const bool is_fast = device.is_cuda() || instruction_set() == InstructionSet::amx;
  if (!is_fast || config.type == EnergyType::torchscript) precision = Precision::float32;
  const Plan* plan = network.plan();
  if (device.is_cuda() || !plan) return make_autograd_weight_gradient(network, precision);
  return precision == Precision::bfloat16 ? make_amx_weight_gradient(*plan)
                                          : make_winograd_weight_gradient(*plan);
}

Precision resolve_precision(Precision requested, EnergyType type, at::Device device) {
  if (requested != Precision::automatic) return requested;
  if (type == EnergyType::mlp || type == EnergyType::torchscript) return Precision::float32;
  if (device.is_cuda()) return Precision::bfloat16;
  return instruction_set() == InstructionSet::amx ? Precision::bfloat16 : Precision::float32;
}

}  // namespace stanley
