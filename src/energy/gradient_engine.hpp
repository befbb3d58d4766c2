#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "energy/network.hpp"

namespace stanley {

/// Computes energies and their gradients with respect to the state for the chains: all but a few
/// per cent of a training's arithmetic. It never computes gradients of weights.
class GradientEngine {
 public:
  virtual ~GradientEngine() = default;

  /// Takes over new weights (Network::weights(), float32): once for each weight update, not for
  /// each chain step.
  virtual void load(const std::vector<at::Tensor>& weights) = 0;

  /// Fills energy [n] and gradient [n, state shape] = ∇ₓE of state [n, state shape]; all three
  /// float32, contiguous, allocated by the caller, on the engine's device. The numbers of one state
  /// do not depend on the others in the batch where batch_invariant() says so.
  virtual void evaluate(const at::Tensor& state, at::Tensor& energy, at::Tensor& gradient) = 0;

  virtual bool batch_invariant() const = 0;

  /// The most states that evaluate() takes at once.
  virtual std::int64_t largest_batch() const { return std::numeric_limits<std::int64_t>::max(); }

  /// Whether evaluate() queues the same work on the same memory each time that it gets the same
  /// tensors, whatever was loaded, and waits for nothing: such work can be recorded as a CUDA
  /// graph.
  virtual bool repeatable() const { return false; }

  /// Threads of a rank that have work on so many states: of our own loops, or LibTorch's.
  virtual int working_threads(std::int64_t states) const;

  /// In words, for the log: "Winograd float32" or "autograd bfloat16, TorchScript energy.pt".
  virtual std::string description() const = 0;
};

/// The fastest engine for the network, precision (resolved) and device.
std::unique_ptr<GradientEngine> make_gradient_engine(const Network& network,
                                                     const EnergyConfig& config,
                                                     Precision precision, at::Device device);

/// Any built-in network on any device, layer by layer without autograd: LibTorch's products and
/// convolutions, channels last, and one fused pass over memory between them.
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
std::unique_ptr<GradientEngine> make_tile_engine(const Plan& plan);

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

/// Tells LibTorch to take, of a GPU's operations, only those that give the same bits each time,
/// which a resumed run needs, and to compute in float32 where that is asked for, not in TF32. For
/// runs on a GPU alone: it also refuses some operations of the CPU. What a user's energy does
/// beside those fails where it is evaluated, in LibTorch's words, for as_error() to translate.
/// Throws Error(environment) where the user's CUBLAS_WORKSPACE_CONFIG stands against it.
void choose_gpu_arithmetic();

}  // namespace stanley
