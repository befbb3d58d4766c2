#include <cstdint>

#include "kernels/launch.cuh"
#include "kernels/order_statistic.hpp"

namespace stanley {
namespace {

constexpr int threads_per_row = 256, warps = threads_per_row / 32;

/// As order_statistic_of_row() on the host: one bit of the result after the other, by counting the
/// values below the pattern. One block for each row, whose threads keep `kept` values each; with
/// none they read longer rows again for each bit.
template <int kept>
__global__ void __launch_bounds__(threads_per_row)
    order_statistic(const float* values, std::int64_t d, std::int64_t k, float* out) {
  const float* row = values + std::int64_t{blockIdx.x} * d;
  const auto pattern = [&](std::int64_t i) { return __float_as_int(row[i]) & 0x7fffffff; };
  const auto thread = static_cast<int>(threadIdx.x);
  [[maybe_unused]] int patterns[kept > 0 ? kept : 1];
#pragma unroll
  for (int i = 0; i < kept; ++i) {
    const int at = thread + i * threads_per_row;
    patterns[i] = at < d ? pattern(at) : 0x7fffffff;  // never below a candidate
  }
  __shared__ unsigned below[2][warps];  // in turns: one is read while the other is written
  int result = 0;
  for (int bit = 30; bit >= 0; --bit) {
    const int candidate = result | (1 << bit);
    unsigned count = 0;
    if constexpr (kept > 0) {
#pragma unroll
      for (int i = 0; i < kept; ++i) count += patterns[i] < candidate ? 1 : 0;
    } else {
      for (std::int64_t i = thread; i < d; i += threads_per_row) {
        count += pattern(i) < candidate ? 1 : 0;
      }
    }
    count = __reduce_add_sync(0xFFFFFFFF, count);
    if (thread % 32 == 0) below[bit % 2][thread / 32] = count;
    __syncthreads();
    std::int64_t all = 0;
#pragma unroll
    for (int warp = 0; warp < warps; ++warp) all += below[bit % 2][warp];
    if (all < k) result = candidate;
  }
  if (thread == 0) out[blockIdx.x] = __int_as_float(result);
}

}  // namespace

void order_statistic_cuda(const float* values, std::int64_t n, std::int64_t d, std::int64_t k,
                          float* out, CUstream_st* stream) {
  if (n == 0) return;  // a launch of no blocks is an error
  const auto kernel = d <= 4 * threads_per_row    ? order_statistic<4>
                      : d <= 16 * threads_per_row ? order_statistic<16>
                                                  : order_statistic<0>;
  kernel<<<static_cast<unsigned>(n), threads_per_row, 0, stream>>>(values, d, k, out);
  check_launch("the gradient's quantiles");
}

}  // namespace stanley
