#pragma once

#include <memory>

#include "config/config.hpp"
#include "energy/gradient_engine.hpp"
#include "energy/network.hpp"
#include "energy/weight_gradient.hpp"

/// Which arithmetic a network takes (src/README.md has the table). Who trains or samples asks the
/// first two; the others are for tests and benchmarks.
namespace stanley {

/// Rounding errors of the energies of convnets and resnets as GradientEngine::energy_error() means
/// them.
constexpr double float32_energy_error = 1e-6, bfloat16_energy_error = 0.02;

/// The fastest engine for the network, precision (resolved) and device, of those that have products
/// with the Hessian where these are wanted. A network of a user's, or a conditional one, goes by
/// autograd.
std::unique_ptr<GradientEngine> make_gradient_engine(const Network& network,
                                                     const EnergyConfig& config,
                                                     Precision precision, at::Device device,
                                                     bool hessian_products = false);

/// Any built-in network on any device, layer by layer without autograd: LibTorch's products and
/// convolutions, channels last, and on a GPU one fused pass over memory between them.
std::unique_ptr<GradientEngine> make_layerwise_engine(const EnergyConfig& config,
                                                      const Network& network, Precision precision,
                                                      at::Device device);

/// Any network on any device through LibTorch's autograd, with frozen weights and channels-last
/// layout. `network` must outlive the engine.
std::unique_ptr<GradientEngine> make_autograd_engine(const Network& network, Precision precision,
                                                     at::Device device);

/// A plan on the CPU in float32, by Winograd's minimal filtering.
std::unique_ptr<GradientEngine> make_winograd_engine(const Plan& plan);

/// A plan on the CPU in bfloat16, by the tiles of AMX, or by vectors where there are none.
std::unique_ptr<GradientEngine> make_amx_engine(const Plan& plan);

/// A plan without skip connections or means on a GPU in bfloat16, with one kernel for each layer
/// and direction: of channels in multiples of 8, for states of at most 8. Only in a build with
/// STANLEY_CUDA.
bool convnet_cuda_engine_serves(const Plan& plan);
std::unique_ptr<GradientEngine> make_convnet_cuda_engine(const Plan& plan, at::Device device);

/// What `precision: auto` means: bfloat16 for the built-in convolutional networks on GPUs and on
/// processors with AMX, else float32. The bfloat16 instructions of AVX-512 alone do not count: on
/// the processors measured they are no faster than float32's. A TorchScript energy learns in
/// float32, so that chains in bfloat16 would follow another energy than the one that is trained;
/// and an mlp is mostly trained at T near 1, where bfloat16's rounding of an energy, 2^−8 of it, is
/// no small part of T.
Precision resolve_precision(Precision requested, EnergyType type, at::Device device);

/// The fastest one for the network, the chains' precision (resolved) and the device. With chains in
/// bfloat16, the products of a built-in network on a GPU or on a processor with AMX are so too,
/// with sums in float32; all else is in float32. `network` must outlive it.
std::unique_ptr<WeightGradient> make_weight_gradient(const Network& network,
                                                     const EnergyConfig& config,
                                                     Precision precision, at::Device device);

/// Any network on any device through LibTorch's autograd, with activations and products in
/// `precision`.
std::unique_ptr<WeightGradient> make_autograd_weight_gradient(
    const Network& network, Precision precision = Precision::float32);

/// A plan on the CPU, with products in bfloat16, by tiles like the chains'.
std::unique_ptr<WeightGradient> make_amx_weight_gradient(const Plan& plan);

/// A plan on the CPU in float32, by Winograd's minimal filtering like the chains' engine.
std::unique_ptr<WeightGradient> make_winograd_weight_gradient(const Plan& plan);

}  // namespace stanley
