#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "config/error.hpp"
#include "kernels/chain_update.hpp"
#include "kernels/chain_update_element.hpp"
#include "random/normal.hpp"
#include "random/random.hpp"

namespace stanley {
namespace {

using random::block_elements;

constexpr unsigned threads_per_block = 256;
constexpr std::int64_t most_rows = 65535;  // of a grid; the kernels stride over what is beyond

std::int64_t __host__ __device__ blocks_of(std::int64_t dimension) {
  return (dimension + block_elements - 1) / block_elements;
}

/// Calls work(row, block) for each random block of each chain, one thread each: a chain's blocks
/// lie along x, chains along y.
template <class Work>
__device__ void for_each_block(std::int64_t n, std::int64_t dimension, const Work& work) {
  const std::int64_t block = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (block >= blocks_of(dimension)) return;
  for (std::int64_t row = blockIdx.y; row < n; row += gridDim.y) {
    work(row, static_cast<std::uint32_t>(block));
  }
}

/// One random block's elements of an array: four consecutive ones, loaded and stored at once where
/// rows are made of whole blocks; else those that the row still has.
struct Quad {
  float value[block_elements];
};

__device__ Quad load(const float* row, std::uint32_t block, std::int64_t dimension) {
  const std::int64_t first = std::int64_t{block} * block_elements;
  if (dimension % block_elements == 0) {
    const float4 all = *reinterpret_cast<const float4*>(row + first);
    return {{all.x, all.y, all.z, all.w}};
  }
  Quad quad{};
#pragma unroll
  for (int i = 0; i < block_elements; ++i) {
    if (first + i < dimension) quad.value[i] = row[first + i];
  }
  return quad;
}

__device__ void store(const Quad& quad, float* row, std::uint32_t block, std::int64_t dimension) {
  const std::int64_t first = std::int64_t{block} * block_elements;
  if (dimension % block_elements == 0) {
    *reinterpret_cast<float4*>(row + first) =
        make_float4(quad.value[0], quad.value[1], quad.value[2], quad.value[3]);
    return;
  }
#pragma unroll
  for (int i = 0; i < block_elements; ++i) {
    if (first + i < dimension) row[first + i] = quad.value[i];
  }
}

__global__ void update_kernel(Update update, const std::int64_t* ids, std::int64_t n,
                              std::int64_t dimension, const float* gradients, const float* gains,
                              const float* threshold, float* states) {
  for_each_block(n, dimension, [=](std::int64_t row, std::uint32_t block) {
    random::Normals xi{};
    if (update.sigma != 0.0F) {
      xi = random::normals(update.key, static_cast<std::uint32_t>(ids[row]),
                           detail::step_of(update), block);
    }
    const float th = threshold != nullptr ? threshold[row] : 0.0F;
    const std::int64_t begin = row * dimension;
    Quad state = load(states + begin, block, dimension), gradient{}, gain{{1, 1, 1, 1}};
    if (gradients != nullptr) gradient = load(gradients + begin, block, dimension);
    if (gains != nullptr) gain = load(gains + begin, block, dimension);
#pragma unroll
    for (int i = 0; i < block_elements; ++i) {
      const float g = gradient.value[i];
      const float gamma = th != 0.0F ? detail::gain_of(th, g) : gain.value[i];
      float z = state.value[i];
      if (gradients != nullptr) z = detail::drifted(z, update.half_step, gamma, g);
      if (update.sigma != 0.0F) z = detail::diffused(z, update.sigma, gamma, xi.value[i]);
      state.value[i] = detail::into_box(z, update.low, update.high);
    }
    store(state, states + begin, block, dimension);
  });
}

__global__ void fill_normal_kernel(random::Key key, const std::int64_t* ids, std::int64_t n,
                                   std::uint64_t step, std::int64_t dimension, float scale,
                                   float* out) {
  for_each_block(n, dimension, [=](std::int64_t row, std::uint32_t block) {
    const random::Normals xi =
        random::normals(key, static_cast<std::uint32_t>(ids[row]), step, block);
    Quad quad;
#pragma unroll
    for (int i = 0; i < block_elements; ++i) quad.value[i] = scale * xi.value[i];
    store(quad, out + row * dimension, block, dimension);
  });
}

__global__ void fill_uniform_kernel(random::Key key, const std::int64_t* ids, std::int64_t n,
                                    std::uint64_t step, std::int64_t dimension, float low,
                                    float high, float* out) {
  for_each_block(n, dimension, [=](std::int64_t row, std::uint32_t block) {
    const random::Words words =
        random::block(key, static_cast<std::uint32_t>(ids[row]), step, block);
    Quad quad;
#pragma unroll
    for (int i = 0; i < block_elements; ++i) {
      quad.value[i] = detail::between(low, high, random::to_uniform(words.value[i]));
    }
    store(quad, out + row * dimension, block, dimension);
  });
}

/// Starts the kernel for n chains of this dimension.
template <typename... Parameters, typename... Arguments>
void launch(const char* what, void (*kernel)(Parameters...), std::int64_t n, std::int64_t dimension,
            cudaStream_t stream, Arguments... arguments) {
  if (n == 0) return;  // a launch of no blocks is an error
  const std::int64_t blocks = (blocks_of(dimension) + threads_per_block - 1) / threads_per_block;
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(std::min(n, most_rows)));
  kernel<<<grid, threads_per_block, 0, stream>>>(arguments...);
  const cudaError_t status = cudaGetLastError();
  if (status != cudaSuccess) {
    throw Error(ExitCode::environment, std::string("the GPU refused to start ") + what + ": " +
                                           cudaGetErrorString(status) +
                                           "; check the driver and that the device is free");
  }
}

}  // namespace

void update_cuda(const Update& update, const std::int64_t* ids, std::int64_t n,
                 std::int64_t dimension, const float* gradient, const float* gain,
                 const float* threshold, float* state, CUstream_st* stream) {
  detail::check_gains(gradient, gain, threshold);
  launch("the update of the chains", update_kernel, n, dimension, stream, update, ids, n, dimension,
         gradient, gain, threshold, state);
}

void fill_normal_cuda(random::Key key, const std::int64_t* ids, std::int64_t n, std::uint64_t step,
                      std::int64_t dimension, float scale, float* out, CUstream_st* stream) {
  launch("the normal random numbers", fill_normal_kernel, n, dimension, stream, key, ids, n, step,
         dimension, scale, out);
}

void fill_uniform_cuda(random::Key key, const std::int64_t* ids, std::int64_t n, std::uint64_t step,
                       std::int64_t dimension, float low, float high, float* out,
                       CUstream_st* stream) {
  launch("the uniform random numbers", fill_uniform_kernel, n, dimension, stream, key, ids, n, step,
         dimension, low, high, out);
}

}  // namespace stanley
