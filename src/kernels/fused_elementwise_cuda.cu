#include <algorithm>
#include <cstdint>

#include "config/error.hpp"
#include "kernels/activation.cuh"
#include "kernels/fused_elementwise.hpp"
#include "kernels/launch.cuh"

namespace stanley {
namespace {

constexpr unsigned threads_per_block = 256;
constexpr std::uint32_t most_blocks = 1 << 20;  // the kernels stride over what is beyond

/// `count` elements that one instruction loads or stores.
template <typename Element, int count>
struct alignas(sizeof(Element) * count) Pack {
  Element at[count];
};

/// Calls work(i) for each i < count, one thread each.
template <typename Work>
__device__ void for_each(std::uint32_t count, const Work& work) {
  const std::uint64_t stride = std::uint64_t{gridDim.x} * blockDim.x;
  for (std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    work(static_cast<std::uint32_t>(i));
  }
}

template <typename Element, int width>
__global__ void activation_kernel(FusedActivation<Element> pass, std::uint32_t packs) {
  using Group = Pack<Element, width>;
  for_each(packs, [&](std::uint32_t i) {
    const std::uint32_t channel = i % (static_cast<std::uint32_t>(pass.channels) / width) * width;
    const Group z = reinterpret_cast<const Group*>(pass.z)[i];
    Group skip{}, hidden, value, derivative;
    if (pass.skip != nullptr) skip = reinterpret_cast<const Group*>(pass.skip)[i];
#pragma unroll
    for (int k = 0; k < width; ++k) {
      float sum = widened(z.at[k]) + pass.bias[channel + k];
      if (pass.skip != nullptr) sum += widened(skip.at[k]);
      hidden.at[k] = narrowed<Element>(sum);
      float f, slope;
      activate<Element>(pass.activation, pass.slope, sum, f, slope);
      value.at[k] = narrowed<Element>(f);
      derivative.at[k] = narrowed<Element>(slope);
    }
    if (pass.hidden != nullptr) reinterpret_cast<Group*>(pass.hidden)[i] = hidden;
    reinterpret_cast<Group*>(pass.value)[i] = value;
    reinterpret_cast<Group*>(pass.derivative)[i] = derivative;
  });
}

/// Where the halved skip's pack for pack i of the images stands; false where i is in no square.
__device__ bool find_halved(std::uint32_t i, std::uint32_t packs_of_pixel, std::uint32_t height,
                            std::uint32_t width, std::uint32_t& found) {
  const std::uint32_t pixel = i / packs_of_pixel;
  const std::uint32_t x = pixel % width / 2, row = pixel / width;
  const std::uint32_t y = row % height / 2, image = row / height;
  found = ((image * (height / 2) + y) * (width / 2) + x) * packs_of_pixel + i % packs_of_pixel;
  return x < width / 2 && y < height / 2;
}

template <typename Element, int width>
__global__ void derivative_kernel(FusedDerivative<Element> pass, std::uint32_t packs) {
  using Group = Pack<Element, width>;
  const auto packs_of_pixel = static_cast<std::uint32_t>(pass.channels) / width;
  for_each(packs, [&](std::uint32_t i) {
    const Group gradient = reinterpret_cast<const Group*>(pass.gradient)[i];
    const Group derivative = reinterpret_cast<const Group*>(pass.derivative)[i];
    Group skip{}, out;
    float factor = 1.0F;
    std::uint32_t from = i;
    bool adds = pass.kind == Skip::same;
    if (pass.kind == Skip::halved) {
      factor = 0.25F;
      adds = find_halved(i, packs_of_pixel, static_cast<std::uint32_t>(pass.height),
                         static_cast<std::uint32_t>(pass.width), from);
    }
    if (adds) skip = reinterpret_cast<const Group*>(pass.skip)[from];
#pragma unroll
    for (int k = 0; k < width; ++k) {
      float product = widened(gradient.at[k]) * widened(derivative.at[k]);
      if (adds) product += factor * widened(skip.at[k]);
      out.at[k] = narrowed<Element>(product);
    }
    reinterpret_cast<Group*>(pass.out)[i] = out;
  });
}

/// Launches `wide` on 16 bytes a thread where whole pixels are made of them, else `single` on one
/// element.
template <typename Element, typename Pass>
void launch(const Pass& pass, std::int64_t count, void (*wide)(Pass, std::uint32_t),
            void (*single)(Pass, std::uint32_t), cudaStream_t stream) {
  constexpr std::int64_t width = 16 / sizeof(Element);
  const bool whole = pass.channels % width == 0;
  const std::int64_t packs = whole ? count / width : count;
  if (packs == 0) return;
  if (packs > 0xFFFFFFFF) {
    throw Error(ExitCode::configuration,
                "a layer of the network has more than 2^32 numbers on one GPU; lower "
                "chains.active, or use more ranks");
  }
  const auto blocks = static_cast<unsigned>(
      std::min<std::int64_t>(most_blocks, (packs + threads_per_block - 1) / threads_per_block));
  (whole ? wide : single)<<<blocks, threads_per_block, 0, stream>>>(
      pass, static_cast<std::uint32_t>(packs));
  check_launch("a pass of the network");
}

template <typename Element>
void run(const FusedActivation<Element>& pass, cudaStream_t stream) {
  launch<Element>(pass, pass.pixels * pass.channels,
                  activation_kernel<Element, 16 / sizeof(Element)>, activation_kernel<Element, 1>,
                  stream);
}

template <typename Element>
void run(const FusedDerivative<Element>& pass, cudaStream_t stream) {
  launch<Element>(pass, pass.images * pass.height * pass.width * pass.channels,
                  derivative_kernel<Element, 16 / sizeof(Element)>, derivative_kernel<Element, 1>,
                  stream);
}

}  // namespace

void run_fused_cuda(const FusedActivation<float>& pass, CUstream_st* stream) { run(pass, stream); }
void run_fused_cuda(const FusedActivation<Bfloat16>& pass, CUstream_st* stream) {
  run(pass, stream);
}
void run_fused_cuda(const FusedDerivative<float>& pass, CUstream_st* stream) { run(pass, stream); }
void run_fused_cuda(const FusedDerivative<Bfloat16>& pass, CUstream_st* stream) {
  run(pass, stream);
}

}  // namespace stanley
