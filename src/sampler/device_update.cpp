#include "sampler/device_update.hpp"

#include <ATen/ATen.h>

#ifdef STANLEY_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

#include <algorithm>
#include <cmath>
#include <span>

#include "config/error.hpp"
#include "kernels/order_statistic.hpp"

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

/// Calls `on_host`, or `on_device` with the current stream of the device where `rows` are.
template <typename Host, typename Device>
void dispatch(const at::Tensor& rows, const Host& on_host,
              [[maybe_unused]] const Device& on_device) {
  if (rows.size(0) == 0) return;
  if (rows.is_cpu()) return on_host();
#ifdef STANLEY_CUDA
  const c10::cuda::CUDAGuard guard(rows.device());
  on_device(c10::cuda::getCurrentCUDAStream().stream());
#else
  throw Error(ExitCode::bug, "a state is on a GPU, but this binary was built without CUDA");
#endif
}

}  // namespace

void update_states(const Update& update, const ChainBatch& batch, const at::Tensor& gradient,
                   const at::Tensor& gain, const at::Tensor& threshold, const at::Tensor& sums) {
  auto* state = batch.state.mutable_data_ptr<float>();
  auto* added_to = sums.defined() ? sums.mutable_data_ptr<double>() : nullptr;
  dispatch(
      batch.state,
      [&] {
        update_cpu(update, host_ids(batch), dimension(batch), pointer(gradient), pointer(gain),
                   pointer(threshold), state, added_to);
      },
      [&](auto* stream) {
        update_cuda(update, batch.ids.const_data_ptr<std::int64_t>(), batch.ids.numel(),
                    dimension(batch), pointer(gradient), pointer(gain), pointer(threshold), state,
                    added_to, stream);
      });
}

at::Tensor thermometer_sums_for(const at::Tensor& state) {
  std::int64_t parts = 1;
#ifdef STANLEY_CUDA
  if (!state.is_cpu()) parts = sum_parts_cuda(state.numel() / state.size(0));
#endif
  return at::zeros({state.size(0), parts, thermometer_sums}, state.options().dtype(at::kDouble));
}

at::Tensor absolute_order_statistic(const at::Tensor& values, std::int64_t k) {
  const std::int64_t n = values.size(0), d = values.size(1);
  at::Tensor result = at::empty({n}, values.options());
  const auto* in = values.const_data_ptr<float>();
  auto* out = result.mutable_data_ptr<float>();
  dispatch(
      values, [&] { order_statistic_cpu(in, n, d, k, out); },
      [&](auto* stream) { order_statistic_cuda(in, n, d, k, out, stream); });
  return result;
}

std::int64_t quantile_rank(double q, std::int64_t d) {
  // 0.07 · 100 is a little more than 7 in floating point: not the eighth.
  const double rank = std::ceil(q * static_cast<double>(d) * (1 - 1e-12));
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(rank), 1, d);
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
      batch.state,
      [&] { fill_normal_cpu(key, host_ids(batch), step, dimension(batch), scale, state); },
      [&](auto* stream) {
        fill_normal_cuda(key, batch.ids.const_data_ptr<std::int64_t>(), batch.ids.numel(), step,
                         dimension(batch), scale, state, stream);
      });
}

void fill_uniform(random::Key key, std::uint64_t step, float low, float high,
                  const ChainBatch& batch) {
  auto* state = batch.state.mutable_data_ptr<float>();
  dispatch(
      batch.state,
      [&] { fill_uniform_cpu(key, host_ids(batch), step, dimension(batch), low, high, state); },
      [&](auto* stream) {
        fill_uniform_cuda(key, batch.ids.const_data_ptr<std::int64_t>(), batch.ids.numel(), step,
                          dimension(batch), low, high, state, stream);
      });
}

}  // namespace stanley
