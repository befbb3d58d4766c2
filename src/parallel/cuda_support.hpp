#pragma once

// Small owners of CUDA things. Empty in a build without CUDA.
#ifdef STANLEY_CUDA

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "config/error.hpp"

namespace stanley {

/// Throws Error(ExitCode::environment) with CUDA's own text unless `status` is cudaSuccess.
inline void check_cuda(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  throw Error(ExitCode::environment, std::string(call) + " failed: " + cudaGetErrorString(status) +
                                         " (" + cudaGetErrorName(status) + ")");
}

/// Floats on the device, or on the host where the device can reach them (pinned). Grows, never
/// shrinks; growing loses the contents.
template <bool on_device>
class CudaBuffer {
 public:
  float* at_least(std::size_t floats) {
    if (floats <= capacity_) return data_.get();
    data_.reset();
    capacity_ = 0;
    void* memory = nullptr;
    if constexpr (on_device) {
      check_cuda(cudaMalloc(&memory, floats * sizeof(float)), "cudaMalloc");
    } else {
      check_cuda(cudaMallocHost(&memory, floats * sizeof(float)), "cudaMallocHost");
    }
    data_.reset(static_cast<float*>(memory));
    capacity_ = floats;
    return data_.get();
  }

 private:
  struct Free {
    void operator()(float* data) const { on_device ? cudaFree(data) : cudaFreeHost(data); }
  };
  std::unique_ptr<float, Free> data_;
  std::size_t capacity_ = 0;
};

using DeviceBuffer = CudaBuffer<true>;
using PinnedBuffer = CudaBuffer<false>;

/// A stream that starts after the device's default stream, and an event to wait for it.
class CudaStream {
 public:
  CudaStream() {
    check_cuda(cudaStreamCreate(&stream_), "cudaStreamCreate");
    check_cuda(cudaEventCreateWithFlags(&done_, cudaEventDisableTiming), "cudaEventCreate");
  }
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  ~CudaStream() {
    cudaEventDestroy(done_);
    cudaStreamDestroy(stream_);
  }

  cudaStream_t handle() const { return stream_; }
  /// Marks the end of the work queued so far.
  void record() { check_cuda(cudaEventRecord(done_, stream_), "cudaEventRecord"); }
  /// Whether the marked work is done.
  bool is_done() const {
    const cudaError_t status = cudaEventQuery(done_);
    if (status == cudaErrorNotReady) return false;
    check_cuda(status, "cudaEventQuery");
    return true;
  }

 private:
  cudaStream_t stream_ = nullptr;
  cudaEvent_t done_ = nullptr;
};

/// Queues total = ((part 0 + part 1) + part 2) + ..., where part p begins at parts + p * stride;
/// zeros if there is no part. All are device pointers; total may be part 0. (ordered_sum.cu)
void queue_ordered_sum(const float* parts, std::size_t count, std::size_t stride, float* total,
                       std::size_t size, cudaStream_t stream);

}  // namespace stanley

#endif  // STANLEY_CUDA
