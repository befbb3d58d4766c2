#include "sampler/order_statistic.hpp"

#include <ATen/ATen.h>

#ifdef STANLEY_CUDA
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "sampler/order_statistic_cuda.hpp"
#endif

#include <algorithm>
#include <bit>
#include <cmath>

#include "energy/instruction_sets.hpp"
#include "energy/loop_threads.hpp"

namespace stanley {
namespace {

/// Non-negative floats are ordered like their bits, so the k-th smallest is found bit by bit: the
/// largest pattern with fewer than k values below it. 31 counting passes over a row in cache, which
/// vectorise, beat selection with its unpredictable branches.
STANLEY_CLONES STANLEY_O3 float order_statistic_of_row(const float* row, std::int64_t d,
                                                       std::int64_t k) {
  std::int32_t result = 0;
  for (int bit = 30; bit >= 0; --bit) {
    const std::int32_t candidate = result | (std::int32_t{1} << bit);
    std::int32_t below = 0;
    for (std::int64_t i = 0; i < d; ++i) {
      below += (std::bit_cast<std::int32_t>(row[i]) & 0x7fffffff) < candidate ? 1 : 0;
    }
    if (below < k) result = candidate;
  }
  return std::bit_cast<float>(result);
}

}  // namespace

at::Tensor absolute_order_statistic(const at::Tensor& values, std::int64_t k) {
  const std::int64_t n = values.size(0), d = values.size(1);
  at::Tensor result = at::empty({n}, values.options());
  const auto* in = values.const_data_ptr<float>();
  auto* out = result.mutable_data_ptr<float>();
#ifdef STANLEY_CUDA
  if (values.is_cuda()) {
    const c10::cuda::CUDAGuard guard(values.device());
    order_statistic_cuda(in, n, d, k, out, c10::cuda::getCurrentCUDAStream().stream());
    return result;
  }
#endif
  constexpr std::int64_t worth_threads = 4096;  // values, each read 31 times
#pragma omp parallel for num_threads(loop_threads()) schedule(static) if (n * d > worth_threads)
  for (std::int64_t i = 0; i < n; ++i) out[i] = order_statistic_of_row(in + i * d, d, k);
  return result;
}

std::int64_t quantile_rank(double q, std::int64_t d) {
  // 0.07 · 100 is a little more than 7 in floating point: not the eighth.
  const double rank = std::ceil(q * static_cast<double>(d) * (1 - 1e-12));
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(rank), 1, d);
}

}  // namespace stanley
