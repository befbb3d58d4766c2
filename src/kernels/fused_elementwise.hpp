#pragma once

#include <cstdint>

#include "config/activation.hpp"
#include "kernels/bfloat16.hpp"

struct CUstream_st;  // cudaStream_t is a pointer to it

/// What stands between a network's linear layers, in one pass over memory each. Arrays are batches
/// of images with their channels last, [image, y, x, channel]; a batch of vectors is one of images
/// of one pixel. Element is float or Bfloat16; sums and activations are computed in float32. All
/// pointers are memory of a CUDA device that starts at a multiple of 16 bytes; the work is queued
/// on `stream`. Throws Error(environment) if the launch fails. Only in a build with STANLEY_CUDA.
namespace stanley {

/// hidden ← z + bias + skip, value ← f(hidden), derivative ← f′(hidden).
template <typename Element>
struct FusedActivation {
  Activation activation;
  float slope;  ///< of the leaky ReLU
  std::int64_t pixels, channels;
  const Element* z;     ///< [pixels, channels]
  const float* bias;    ///< [channels]
  const Element* skip;  ///< [pixels, channels], or null: none
  Element* hidden;      ///< [pixels, channels], or null: not kept; may be z
  Element* value;       ///< may be z if hidden is not
  Element* derivative;
};

/// What a skip connection adds to a gradient.
enum class Skip {
  none,
  same,   ///< itself
  halved  ///< a quarter of itself at each pixel of a square of 2×2: the adjoint of their mean
};

/// out ← gradient · derivative + skip. The images are height × width.
template <typename Element>
struct FusedDerivative {
  std::int64_t images, height, width, channels;
  const Element* gradient;
  const Element* derivative;
  Skip kind;
  const Element* skip;  ///< where halved: [images, height / 2, width / 2, channels]
  Element* out;         ///< may be gradient
};

void run_fused_cuda(const FusedActivation<float>& pass, CUstream_st* stream);
void run_fused_cuda(const FusedActivation<Bfloat16>& pass, CUstream_st* stream);
void run_fused_cuda(const FusedDerivative<float>& pass, CUstream_st* stream);
void run_fused_cuda(const FusedDerivative<Bfloat16>& pass, CUstream_st* stream);

}  // namespace stanley
