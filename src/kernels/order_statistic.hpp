#pragma once

#include <cstdint>

#include "kernels/kernel.hpp"

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace stanley {

/// out [n] ← the k-th smallest (k = 1 … d) of each row's absolute values, of values [n, d]; exact.
/// A NaN counts as larger than every number.
void order_statistic_cpu(const float* values, std::int64_t n, std::int64_t d, std::int64_t k,
                         float* out);

/// That of one row, with the same bits in each instruction set.
namespace plain {
float order_statistic_of_row(const float* row, std::int64_t d, std::int64_t k);
}
STANLEY_KERNEL(order_statistic_of_row)

/// The same in device memory; the work is queued on `stream`. Throws Error(environment) if the
/// launch fails. Only in a build with STANLEY_CUDA.
void order_statistic_cuda(const float* values, std::int64_t n, std::int64_t d, std::int64_t k,
                          float* out, CUstream_st* stream);

}  // namespace stanley
