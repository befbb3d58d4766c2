#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "config/error.hpp"
#include "random/normal.hpp"
#include "random/random.hpp"
#include "sampler/update.hpp"
#include "sampler/update_element.hpp"

namespace stanley {
namespace {

using random::block_elements;

constexpr int threads_per_block = 256;
constexpr std::int64_t most_blocks = 65536;  // the kernels stride over what is beyond

std::int64_t __host__ __device__ blocks_of(std::int64_t dimension) {
  return (dimension + block_elements - 1) / block_elements;
}

/// Calls work(row, block) for each random block of each chain, one thread each.
template <class Work>
__device__ void for_each_block(std::int64_t n, std::int64_t dimension, const Work& work) {
  const std::int64_t per_chain = blocks_of(dimension);
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       i < n * per_chain; i += stride) {
    work(i / per_chain, static_cast<std::uint32_t>(i % per_chain));
  }
}

/// The elements of a block that exist: the last one of a chain may be partly used.
__device__ int elements_in(std::uint32_t block, std::int64_t dimension) {
  const std::int64_t left = dimension - static_cast<std::int64_t>(block) * block_elements;
  return left < block_elements ? static_cast<int>(left) : block_elements;
}

__global__ void update_kernel(Update update, const std::int64_t* ids, std::int64_t n,
                              std::int64_t dimension, const float* gradient, const float* gain,
                              const float* threshold, float* state) {
  for_each_block(n, dimension, [=](std::int64_t row, std::uint32_t block) {
    random::Normals xi{};
    if (update.sigma != 0.0F) {
      xi = random::normals(update.key, static_cast<std::uint32_t>(ids[row]), update.step, block);
    }
    const float th = threshold != nullptr ? threshold[row] : 0.0F;
    const std::int64_t first = row * dimension + static_cast<std::int64_t>(block) * block_elements;
    const int count = elements_in(block, dimension);
#pragma unroll
    for (int i = 0; i < block_elements; ++i) {
      if (i < count) {
        float gamma = gain != nullptr ? gain[first + i] : 1.0F;
        float z = state[first + i];
        if (gradient != nullptr) {
          const float g = gradient[first + i];
          gamma = th != 0.0F ? detail::gain_of(th, g) : gamma;
          z = detail::drifted(z, update.half_step, gamma, g);
        }
        if (update.sigma != 0.0F) {
          z = detail::diffused(z, update.sigma, gamma, xi.value[i]);
        }
        state[first + i] = detail::into_box(z, update.low, update.high);
      }
    }
  });
}

__global__ void fill_normal_kernel(random::Key key, const std::int64_t* ids, std::int64_t n,
                                   std::uint64_t step, std::int64_t dimension, float scale,
                                   float* out) {
  for_each_block(n, dimension, [=](std::int64_t row, std::uint32_t block) {
    const random::Normals xi =
        random::normals(key, static_cast<std::uint32_t>(ids[row]), step, block);
    const std::int64_t first = row * dimension + static_cast<std::int64_t>(block) * block_elements;
    const int count = elements_in(block, dimension);
#pragma unroll
    for (int i = 0; i < block_elements; ++i) {
      if (i < count) {
        out[first + i] = scale * xi.value[i];
      }
    }
  });
}

__global__ void fill_uniform_kernel(random::Key key, const std::int64_t* ids, std::int64_t n,
                                    std::uint64_t step, std::int64_t dimension, float low,
                                    float high, float* out) {
  for_each_block(n, dimension, [=](std::int64_t row, std::uint32_t block) {
    const random::Words words =
        random::block(key, static_cast<std::uint32_t>(ids[row]), step, block);
    const std::int64_t first = row * dimension + static_cast<std::int64_t>(block) * block_elements;
    const int count = elements_in(block, dimension);
#pragma unroll
    for (int i = 0; i < block_elements; ++i) {
      if (i < count) {
        out[first + i] = detail::between(low, high, random::to_uniform(words.value[i]));
      }
    }
  });
}

/// Grid for n chains; 0 blocks if there is nothing to do (a launch of none is an error).
unsigned grid_of(std::int64_t n, std::int64_t dimension) {
  const std::int64_t work = n * blocks_of(dimension);
  return static_cast<unsigned>(
      std::min(most_blocks, (work + threads_per_block - 1) / threads_per_block));
}

void check_launch(const char* what) {
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
  if (const unsigned grid = grid_of(n, dimension); grid > 0) {
    update_kernel<<<grid, threads_per_block, 0, stream>>>(update, ids, n, dimension, gradient, gain,
                                                          threshold, state);
    check_launch("the update of the chains");
  }
}

void fill_normal_cuda(random::Key key, const std::int64_t* ids, std::int64_t n, std::uint64_t step,
                      std::int64_t dimension, float scale, float* out, CUstream_st* stream) {
  if (const unsigned grid = grid_of(n, dimension); grid > 0) {
    fill_normal_kernel<<<grid, threads_per_block, 0, stream>>>(key, ids, n, step, dimension, scale,
                                                               out);
    check_launch("the normal random numbers");
  }
}

void fill_uniform_cuda(random::Key key, const std::int64_t* ids, std::int64_t n, std::uint64_t step,
                       std::int64_t dimension, float low, float high, float* out,
                       CUstream_st* stream) {
  if (const unsigned grid = grid_of(n, dimension); grid > 0) {
    fill_uniform_kernel<<<grid, threads_per_block, 0, stream>>>(key, ids, n, step, dimension, low,
                                                                high, out);
    check_launch("the uniform random numbers");
  }
}

}  // namespace stanley
