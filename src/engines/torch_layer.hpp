#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/TensorBody.h>

#include "config/config.hpp"

namespace stanley {

/// A linear or convolution layer without its bias, whose weight does not change between two loads:
/// LibTorch's product, and its adjoint. Images have their channels last in memory.
class TorchLayer {
 public:
  /// x ↦ x·Wᵀ for x [n, in] and W [out, in].
  static TorchLayer linear() { return TorchLayer(0, 0); }
  /// For x [n, in, height, width] and W [out, in, kernel, kernel].
  static TorchLayer convolution(std::int64_t stride, std::int64_t padding) {
    return TorchLayer(stride, padding);
  }

  /// Copies `weight` in the type and to the device of `options`: always to the same memory.
  void load(const at::Tensor& weight, const at::TensorOptions& options);

  at::Tensor forward(const at::Tensor& input) const;

  /// From the gradient of forward()'s result to that of its input, which has the shape and the
  /// layout of `like`.
  at::Tensor backward(const at::Tensor& gradient, const at::Tensor& like) const;

 private:
  TorchLayer(std::int64_t stride, std::int64_t padding) : stride_(stride), padding_(padding) {}

  /// Of either way, for so many outputs of each filter.
  double flops(std::int64_t positions) const;

  std::int64_t stride_, padding_;  // 0: a linear layer
  at::Tensor weight_;
};

/// The order in memory of a batch of states or hidden values.
at::MemoryFormat layout_of(const at::Tensor& batch);

/// `target` ← `source`, in this type, layout and device; where target is defined, in its memory,
/// which a recorded CUDA graph reads.
void copy_to(at::Tensor& target, const at::Tensor& source, const at::TensorOptions& options);

/// What stands between layers, on the device where the tensors are; on a GPU as
/// kernels/fused_elementwise.hpp has it. An undefined `skip` is none. Replaces z by f(z + bias +
/// skip), or by z + bias + skip where `value` is defined and takes f(...).
void add_and_activate(const EnergyConfig& config, const at::Tensor& bias, const at::Tensor& skip,
                      const at::Tensor& z, const at::Tensor& value, const at::Tensor& derivative);

/// Replaces `gradient` by gradient · derivative + skip, where a skip of half the height and width
/// stands for the adjoint of the mean over squares of 2×2 pixels.
void multiply_and_add(const at::Tensor& gradient, const at::Tensor& derivative,
                      const at::Tensor& skip);

}  // namespace stanley
