#include <algorithm>
#include <cstdint>

#include "config/error.hpp"
#include "kernels/activation.cuh"
#include "kernels/convolution_cuda.hpp"
#include "kernels/implicit_gemm.cuh"

namespace stanley {
namespace {

using namespace implicit_gemm;

/// Eight channels of a pixel in memory.
struct alignas(16) Piece {
  Bfloat16 at[piece];
};

__device__ Piece packed(const Eight& numbers) {
  Piece result;
#pragma unroll
  for (int k = 0; k < piece; k += 2) {
    reinterpret_cast<__nv_bfloat162&>(result.at[k]) =
        __floats2bfloat162_rn(numbers.at[k], numbers.at[k + 1]);
  }
  return result;
}

/// What is done with eight channels of a pixel: bias, activation and derivative.
struct Activate {
  Activation activation;
  float slope;
  int height, width, filters;
  const float* bias;
  Bfloat16 *value, *derivative;

  struct AtChannel {
    const Activate& pass;
    int channel;
    Eight bias;

    __device__ void operator()(const Eight& sums, int image, int y, int x) const {
      Eight of_value, of_derivative;
#pragma unroll
      for (int k = 0; k < piece; ++k) {
        activate<Bfloat16>(pass.activation, pass.slope, sums.at[k] + bias.at[k], of_value.at[k],
                           of_derivative.at[k]);
      }
      const std::int64_t at =
          ((std::int64_t{image} * pass.height + y) * pass.width + x) * pass.filters + channel;
      *reinterpret_cast<Piece*>(pass.value + at) = packed(of_value);
      *reinterpret_cast<Piece*>(pass.derivative + at) = packed(of_derivative);
    }
  };
  __device__ AtChannel at_channel(int channel) const {
    return {*this, channel, *reinterpret_cast<const Eight*>(bias + channel)};
  }
};

/// The product with the derivative.
struct Multiply {
  int height, width, channels;
  const Bfloat16* derivative;
  Bfloat16* out;

  struct AtChannel {
    const Multiply& pass;
    int channel;

    __device__ void operator()(const Eight& sums, int image, int y, int x) const {
      const std::int64_t at =
          ((std::int64_t{image} * pass.height + y) * pass.width + x) * pass.channels + channel;
      const Piece factor = *reinterpret_cast<const Piece*>(pass.derivative + at);
      Eight product;
#pragma unroll
      for (int k = 0; k < piece; ++k) product.at[k] = sums.at[k] * widened(factor.at[k]);
      *reinterpret_cast<Piece*>(pass.out + at) = packed(product);
    }
  };
  __device__ AtChannel at_channel(int channel) const { return {*this, channel}; }
};

/// Into the states' order and type.
struct StoreState {
  int height, width, channels;
  float* out;

  __device__ void operator()(const Eight& sums, int image, int y, int x) const {
    const std::int64_t plane = std::int64_t{height} * width;
    float* to = out + image * channels * plane + std::int64_t{y} * width + x;
#pragma unroll
    for (int k = 0; k < piece; ++k) {
      if (k < channels) to[k * plane] = sums.at[k];
    }
  }
  __device__ const StoreState& at_channel(int) const { return *this; }
};

void check_size(const ConvolutionShape& shape) {
  if (shape.images * shape.height * shape.width <= most_pixels) return;
  throw Error(ExitCode::bug, "one convolution of more than 2^30 pixels");
}

int of(std::int64_t number) { return static_cast<int>(number); }

/// The phases of images height × width whose pixels stand `stride` apart; tap 0 of remainder r
/// stands at first[r].
void set_phases(Product& product, std::int64_t height, std::int64_t width, std::int64_t stride,
                const std::int64_t (&first)[2]) {
  product.stride = of(stride);
  product.phases = of(stride * stride);
  for (std::int64_t i = 0; i < stride * stride; ++i) {
    const std::int64_t y = i / stride, x = i % stride;
    const std::int64_t rows = (height - y + stride - 1) / stride;
    const std::int64_t columns = (width - x + stride - 1) / stride;
    product.phase[i] = {.y = of(y),
                        .x = of(x),
                        .first_y = of(first[y]),
                        .first_x = of(first[x]),
                        .pixels = of(product.images * rows * columns),
                        .by_height = Divisor(of(std::max<std::int64_t>(rows, 1))),
                        .by_width = Divisor(of(std::max<std::int64_t>(columns, 1)))};
  }
}

Product product_of(const ForwardConvolution& pass) {
  const ConvolutionShape& shape = pass.shape;
  Product product{.input = pass.input,
                  .weight = pass.weight,
                  .images = of(shape.images),
                  .height = of(shape.height),
                  .width = of(shape.width),
                  .channels = of(shape.channels),
                  .columns = of(shape.filters),
                  .side = of(shape.kernel),
                  .step = of(shape.stride)};
  set_phases(product, shape.output_height(), shape.output_width(), 1, {-shape.padding, 0});
  return product;
}

Product product_of(const BackwardConvolution& pass) {
  const ConvolutionShape& shape = pass.shape;
  Product product{.input = pass.gradient,
                  .weight = pass.weight,
                  .images = of(shape.images),
                  .height = of(shape.output_height()),
                  .width = of(shape.output_width()),
                  .channels = of(shape.filters),
                  .columns = of(shape.channels),
                  .side = of(shape.kernel / shape.stride),
                  .step = 1};
  set_phases(product, shape.height, shape.width, shape.stride,
             {shape.first_tap(0), shape.first_tap(1)});
  return product;
}

/// With the tile that fills the device best.
template <typename Finish>
void launch(const Product& product, const Finish& finish, cudaStream_t stream) {
  const std::int64_t outputs =
      std::int64_t{product.phase[0].pixels} * product.phases * product.columns;
  if (product.columns <= 8) return launch<Tile<256, 8, 32, 8, 32, 2, 4>>(product, finish, stream);
  if (product.columns <= 32) {
    return product.channels < 64 ? launch<Tile<128, 32, 32, 32, 32, 2, 4>>(product, finish, stream)
                                 : launch<Tile<128, 32, 32, 32, 64, 2, 4>>(product, finish, stream);
  }
  if (outputs >= 128 * 64 * 100) {
    return launch<Tile<128, 64, 32, 32, 64, 2, 2>>(product, finish, stream);
  }
  launch<Tile<64, 64, 32, 32, 64, 4, 2>>(product, finish, stream);
}

__global__ void load_states(const float* state, std::int64_t count, int channels, int pixels,
                            Piece* out) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const float* from = state + i / pixels * channels * pixels + i % pixels;
  Piece pixel{};
#pragma unroll
  for (int k = 0; k < piece; ++k) {
    if (k < channels) pixel.at[k] = narrowed<Bfloat16>(from[std::int64_t{k} * pixels]);
  }
  out[i] = pixel;
}

constexpr int top_threads = 256;

/// One block for each image.
__global__ void __launch_bounds__(top_threads)
    evaluate_top(const Bfloat16* value, const float* weight, const float* bias, int pieces,
                 Bfloat16* derivative, float* energy) {
  const auto* values = reinterpret_cast<const Piece*>(value) + std::int64_t{blockIdx.x} * pieces;
  auto* derivatives = reinterpret_cast<Piece*>(derivative) + std::int64_t{blockIdx.x} * pieces;
  const auto* weights = reinterpret_cast<const Eight*>(weight);
  float sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < pieces; i += top_threads) {
    const Piece of_value = values[i];
    const Eight of_weight = weights[i];
    Piece product = derivatives[i];
#pragma unroll
    for (int k = 0; k < piece; ++k) {
      sum += widened(of_value.at[k]) * of_weight.at[k];
      product.at[k] = narrowed<Bfloat16>(widened(product.at[k]) * of_weight.at[k]);
    }
    derivatives[i] = product;
  }
  __shared__ float sums[top_threads / 32];
  for (int half = 16; half > 0; half /= 2) sum += __shfl_xor_sync(0xFFFFFFFF, sum, half);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x > 0) return;
  float all = *bias;
  for (const float of_warp : sums) all += of_warp;
  energy[blockIdx.x] = all;
}

}  // namespace

void convolve_cuda(const ForwardConvolution& pass, CUstream_st* stream) {
  check_size(pass.shape);
  launch(product_of(pass),
         Activate{.activation = pass.activation,
                  .slope = pass.slope,
                  .height = of(pass.shape.output_height()),
                  .width = of(pass.shape.output_width()),
                  .filters = of(pass.shape.filters),
                  .bias = pass.bias,
                  .value = pass.value,
                  .derivative = pass.derivative},
         stream);
}

void convolve_cuda(const BackwardConvolution& pass, CUstream_st* stream) {
  const int height = of(pass.shape.height), width = of(pass.shape.width);
  if (pass.out == nullptr) {
    return launch(product_of(pass),
                  StoreState{height, width, of(pass.state_channels), pass.state_gradient}, stream);
  }
  launch(product_of(pass),
         Multiply{height, width, of(pass.shape.channels), pass.derivative, pass.out}, stream);
}

void load_states_cuda(const float* state, std::int64_t images, std::int64_t channels,
                      std::int64_t pixels, Bfloat16* out, CUstream_st* stream) {
  const std::int64_t count = images * pixels;
  load_states<<<static_cast<unsigned>((count + 255) / 256), 256, 0, stream>>>(
      state, count, of(channels), of(pixels), reinterpret_cast<Piece*>(out));
  check_launch("the states' conversion");
}

void evaluate_top_cuda(const Bfloat16* value, const float* weight, const float* bias,
                       std::int64_t images, std::int64_t size, Bfloat16* derivative, float* energy,
                       CUstream_st* stream) {
  evaluate_top<<<static_cast<unsigned>(images), top_threads, 0, stream>>>(
      value, weight, bias, of(size / piece), derivative, energy);
  check_launch("the network's last layer");
}

}  // namespace stanley
