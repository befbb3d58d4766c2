#include <algorithm>

#include "parallel/cuda_support.hpp"

namespace stanley {
namespace {

constexpr unsigned threads_per_block = 256;
constexpr std::size_t most_blocks = 4096;

__global__ void ordered_sum_kernel(const float* parts, std::size_t count, std::size_t stride,
                                   float* total, std::size_t size) {
  const std::size_t threads = std::size_t{gridDim.x} * blockDim.x;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < size; i += threads) {
    float sum = count == 0 ? 0.0f : parts[i];
    for (std::size_t part = 1; part < count; ++part) sum += parts[part * stride + i];
    total[i] = sum;
  }
}

}  // namespace

void queue_ordered_sum(const float* parts, std::size_t count, std::size_t stride, float* total,
                       std::size_t size, cudaStream_t stream) {
  if (size == 0) return;
  const std::size_t blocks =
      std::min(most_blocks, (size + threads_per_block - 1) / threads_per_block);
  ordered_sum_kernel<<<static_cast<unsigned>(blocks), threads_per_block, 0, stream>>>(
      parts, count, stride, total, size);
  check_cuda(cudaGetLastError(), "the ordered sum kernel");
}

}  // namespace stanley
