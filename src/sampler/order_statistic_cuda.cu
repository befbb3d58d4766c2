#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "config/error.hpp"
#include "sampler/order_statistic_cuda.hpp"

namespace stanley {
namespace {

constexpr int threads_per_row = 256;
constexpr int bits = 31;  // of a float without its sign

/// As order_statistic_of_row() on the host: one bit of the result after the other, by counting the
/// values below the pattern. One block for each row.
__global__ void __launch_bounds__(threads_per_row)
    order_statistic(const float* values, std::int64_t d, std::int64_t k, float* out) {
  __shared__ unsigned long long below[bits];
  if (threadIdx.x < bits) below[threadIdx.x] = 0;
  __syncthreads();
  const float* row = values + std::int64_t{blockIdx.x} * d;
  int result = 0;
  for (int bit = bits - 1; bit >= 0; --bit) {
    const int candidate = result | (1 << bit);
    unsigned count = 0;
    for (std::int64_t i = threadIdx.x; i < d; i += threads_per_row) {
      count += (__float_as_int(row[i]) & 0x7fffffff) < candidate ? 1 : 0;
    }
    const unsigned of_warp = __reduce_add_sync(0xFFFFFFFF, count);
    if (threadIdx.x % 32 == 0) atomicAdd(&below[bit], of_warp);
    __syncthreads();
    if (below[bit] < static_cast<unsigned long long>(k)) result = candidate;
  }
  if (threadIdx.x == 0) out[blockIdx.x] = __int_as_float(result);
}

}  // namespace

void order_statistic_cuda(const float* values, std::int64_t n, std::int64_t d, std::int64_t k,
                          float* out, CUstream_st* stream) {
  if (n == 0) return;  // a launch of no blocks is an error
  order_statistic<<<static_cast<unsigned>(n), threads_per_row, 0, stream>>>(values, d, k, out);
  const cudaError_t status = cudaGetLastError();
  if (status != cudaSuccess) {
    throw Error(ExitCode::environment,
                std::string("the GPU refused to start the gradient's quantiles: ") +
                    cudaGetErrorString(status) + "; check the driver and that the device is free");
  }
}

}  // namespace stanley
