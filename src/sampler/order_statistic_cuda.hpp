#pragma once

#include <cstdint>

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace stanley {

/// absolute_order_statistic() on a CUDA device: out [n] from values [n, d], both device memory; the
/// work is queued on `stream`. Throws Error(environment) if the launch fails. Only in a build with
/// STANLEY_CUDA.
void order_statistic_cuda(const float* values, std::int64_t n, std::int64_t d, std::int64_t k,
                          float* out, CUstream_st* stream);

}  // namespace stanley
