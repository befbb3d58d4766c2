#include "energy/operation_times.hpp"

#ifdef STANLEY_CUDA
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime.h>

#include "config/error.hpp"
#endif

namespace stanley {
namespace {

thread_local OperationTimes* current = nullptr;

#ifdef STANLEY_CUDA

/// A new event on the current stream.
CUevent_st* mark() {
  cudaEvent_t event = nullptr;
  if (cudaEventCreate(&event) == cudaSuccess) {
    cudaEventRecord(event, c10::cuda::getCurrentCUDAStream().stream());
  }
  return event;
}

/// Waits; the events are gone then.
double seconds_between(CUevent_st* begin, CUevent_st* end) {
  float milliseconds = 0;
  cudaEventSynchronize(end);
  const cudaError_t status = cudaEventElapsedTime(&milliseconds, begin, end);
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  if (status != cudaSuccess) {
    throw Error(ExitCode::environment, std::string("the GPU's work can't be timed: ") +
                                           cudaGetErrorString(status) +
                                           "; check the driver and that the device is free");
  }
  return static_cast<double>(milliseconds) * 1e-3;
}

#else

CUevent_st* mark() { return nullptr; }
double seconds_between(CUevent_st*, CUevent_st*) { return 0; }

#endif

}  // namespace

OperationTimes::OperationTimes(bool on_gpu) : on_gpu_(on_gpu) { current = this; }
OperationTimes::~OperationTimes() { current = nullptr; }

void OperationTimes::finish() {
  for (const Span& span : spans_) {
    seconds_[static_cast<std::size_t>(span.operation)] += seconds_between(span.begin, span.end);
  }
  spans_.clear();
}

Timed::Timed(Operation operation, double flops)
    : times_(current), operation_(operation), flops_(flops) {
  if (times_ == nullptr) return;
  if (times_->on_gpu_) {
    begin_ = mark();
  } else {
    start_ = std::chrono::steady_clock::now();
  }
}

Timed::~Timed() {
  if (times_ == nullptr) return;
  const auto index = static_cast<std::size_t>(operation_);
  times_->flops_[index] += flops_;
  if (times_->on_gpu_) {
    times_->spans_.push_back({operation_, begin_, mark()});
  } else {
    times_->seconds_[index] +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
}

}  // namespace stanley
