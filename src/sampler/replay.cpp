#include "sampler/replay.hpp"

#include <ATen/ATen.h>

#include <utility>

#ifdef STANLEY_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace stanley {

#ifdef STANLEY_CUDA

struct Replay::Recording {
  at::cuda::CUDAGraph graph;

  Recording(c10::Device device, const std::function<void()>& work) {
    // A default stream can't be recorded. What is queued on it so far is not waited for: recording
    // runs nothing.
    const c10::cuda::CUDAStreamGuard guard(
        c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index()));
    // Other threads may go on calling CUDA meanwhile.
    graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
    try {
      work();
    } catch (...) {
      // The error is what matters; a recording that was cut off can only be dropped.
      try {
        graph.capture_end();
      } catch (const c10::Error&) {
      }
      throw;
    }
    graph.capture_end();
  }
};

#endif

void Replay::run(c10::Device device, const std::function<void()>& work) {
  if (device.is_cpu() || !std::exchange(warm_, true)) return work();
#ifdef STANLEY_CUDA
  const c10::cuda::CUDAGuard guard(device);
  if (!recording_) recording_ = std::make_shared<Recording>(device, work);
  recording_->graph.replay();
#endif
}

}  // namespace stanley
