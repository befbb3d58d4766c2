#pragma once

#include <cstdint>

#include "config/activation.hpp"
#include "kernels/bfloat16.hpp"
#include "kernels/convolution_shape.hpp"

struct CUstream_st;  // cudaStream_t is a pointer to it

/// The convnet's layers on a CUDA device in bfloat16, each one kernel: a convolution as a product
/// of matrices on the tensor cores, its sums in float32, and what follows it before anything is
/// stored. Arrays are images with their channels last, [image, y, x, channel]; all pointers are
/// device memory that starts at a multiple of 16 bytes. The numbers of one image do not depend on
/// the others. The work is queued on `stream`; a launch that fails throws Error(environment). Only
/// in a build with STANLEY_CUDA.
namespace stanley {

/// Pixels of all images of one convolution at most: their indices are 32 bits wide.
constexpr std::int64_t most_pixels = std::int64_t{1} << 30;

/// value ← f(z), derivative ← f′(z), for z the convolution of `input` plus bias.
struct ForwardConvolution {
  ConvolutionShape shape;
  Activation activation;
  float slope;             ///< of the leaky ReLU
  const Bfloat16* input;   ///< [images, height, width, channels]
  const Bfloat16* weight;  ///< [filters, kernel, kernel, channels]
  const float* bias;       ///< [filters]
  Bfloat16* value;         ///< [images, output height, output width, filters], as `derivative`
  Bfloat16* derivative;
};

/// The way back: the convolution's adjoint, times `derivative` or into the gradient of the states.
struct BackwardConvolution {
  ConvolutionShape shape;
  const Bfloat16* gradient;  ///< [images, output height, output width, filters]
  /// [stride, stride, channels, kernel / stride, kernel / stride, filters]: for input pixels whose
  /// y and x leave these remainders, the weights of the outputs that they reach.
  const Bfloat16* weight;
  const Bfloat16* derivative;  ///< [images, height, width, channels], as `out`; null for the states
  Bfloat16* out;               ///< may be derivative
  float* state_gradient;       ///< [images, state_channels, height, width]; null where `out` is not
  std::int64_t state_channels;  ///< at most 8, as `channels` is then
};

void convolve_cuda(const ForwardConvolution& pass, CUstream_st* stream);
void convolve_cuda(const BackwardConvolution& pass, CUstream_st* stream);

/// States [images, channels, height, width] as images in bfloat16 whose pixels are filled up to
/// eight channels with zeros.
void load_states_cuda(const float* state, std::int64_t images, std::int64_t channels,
                      std::int64_t pixels, Bfloat16* out, CUstream_st* stream);

/// The last layer, for `size` top values of each image: energy ← value·weight + bias, and
/// derivative ← derivative ∘ weight, the gradient of what was activated to them.
void evaluate_top_cuda(const Bfloat16* value, const float* weight, const float* bias,
                       std::int64_t images, std::int64_t size, Bfloat16* derivative, float* energy,
                       CUstream_st* stream);

}  // namespace stanley
