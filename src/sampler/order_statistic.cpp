#include "sampler/order_statistic.hpp"

#include <ATen/ATen.h>

#ifdef STANLEY_CUDA
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#endif

#include <algorithm>
#include <cmath>

#include "kernels/order_statistic.hpp"

namespace stanley {
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
  order_statistic_cpu(in, n, d, k, out);
  return result;
}

std::int64_t quantile_rank(double q, std::int64_t d) {
  // 0.07 · 100 is a little more than 7 in floating point: not the eighth.
  const double rank = std::ceil(q * static_cast<double>(d) * (1 - 1e-12));
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(rank), 1, d);
}

}  // namespace stanley
