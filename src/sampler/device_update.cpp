#include "sampler/device_update.hpp"

#include <ATen/ATen.h>

#ifdef STANLEY_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

#include <span>

#include "config/error.hpp"

namespace stanley {
namespace {

const float* pointer(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr;
}

std::span<const std::int64_t> host_ids(const ChainBatch& batch) {
  return {batch.ids.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(batch.ids.numel())};
}

std::int64_t dimension(const ChainBatch& batch) {
  return batch.state.numel() / batch.state.size(0);
}

/// Calls `on_host`, or `on_device` with the current stream of the batch's device.
template <typename Host, typename Device>
void dispatch(const ChainBatch& batch, const Host& on_host,
              [[maybe_unused]] const Device& on_device) {
  if (batch.ids.numel() == 0) return;
  if (batch.state.is_cpu()) return on_host();
#ifdef STANLEY_CUDA
  const c10::cuda::CUDAGuard guard(batch.state.device());
  on_device(c10::cuda::getCurrentCUDAStream().stream());
#else
  throw Error(ExitCode::bug, "a state is on a GPU, but this binary was built without CUDA");
#endif
}

}  // namespace

void update_states(const Update& update, const ChainBatch& batch, const at::Tensor& gradient,
                   const at::Tensor& gain, const at::Tensor& threshold) {
  auto* state = batch.state.mutable_data_ptr<float>();
  dispatch(
      batch,
      [&] {
        update_cpu(update, host_ids(batch), dimension(batch), pointer(gradient), pointer(gain),
                   pointer(threshold), state);
      },
      [&](auto* stream) {
        update_cuda(update, batch.ids.const_data_ptr<std::int64_t>(), batch.ids.numel(),
                    dimension(batch), pointer(gradient), pointer(gain), pointer(threshold), state,
                    stream);
      });
}

void wait_for(at::Device device) {
  if (device.is_cpu()) return;
#ifdef STANLEY_CUDA
  c10::cuda::getCurrentCUDAStream(device.index()).synchronize();
#endif
}

std::optional<double> peak_memory(at::Device device) {
  if (device.is_cpu()) return std::nullopt;
#ifdef STANLEY_CUDA
  const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(device.index());
  return static_cast<double>(stats.allocated_bytes[0].peak);  // 0: of all pools
#else
  throw Error(ExitCode::bug, "a state is on a GPU, but this binary was built without CUDA");
#endif
}

void fill_normal(random::Key key, std::uint64_t step, float scale, const ChainBatch& batch) {
  auto* state = batch.state.mutable_data_ptr<float>();
  dispatch(
      batch, [&] { fill_normal_cpu(key, host_ids(batch), step, dimension(batch), scale, state); },
      [&](auto* stream) {
        fill_normal_cuda(key, batch.ids.const_data_ptr<std::int64_t>(), batch.ids.numel(), step,
                         dimension(batch), scale, state, stream);
      });
}

void fill_uniform(random::Key key, std::uint64_t step, float low, float high,
                  const ChainBatch& batch) {
  auto* state = batch.state.mutable_data_ptr<float>();
  dispatch(
      batch,
      [&] { fill_uniform_cpu(key, host_ids(batch), step, dimension(batch), low, high, state); },
      [&](auto* stream) {
        fill_uniform_cuda(key, batch.ids.const_data_ptr<std::int64_t>(), batch.ids.numel(), step,
                          dimension(batch), low, high, state, stream);
      });
}

}  // namespace stanley
