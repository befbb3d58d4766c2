#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "energy/elementwise.hpp"

/// Activations and conversions in the kernels of a CUDA device.
namespace stanley {

__device__ inline float widened(float value) { return value; }
__device__ inline float widened(Bfloat16 value) {
  return __uint_as_float(static_cast<std::uint32_t>(value.bits) << 16);
}

template <typename Element>
__device__ Element narrowed(float value);
template <>
__device__ inline float narrowed<float>(float value) {
  return value;
}
template <>
__device__ inline Bfloat16 narrowed<Bfloat16>(float value) {
  return {__bfloat16_as_ushort(__float2bfloat16_rn(value))};
}

/// 1/(1 + exp(−z)); the fast instructions' errors vanish in bfloat16's rounding.
template <typename Element>
__device__ float logistic(float z) {
  if constexpr (sizeof(Element) == sizeof(float)) {
    return 1.0F / (1.0F + expf(-z));
  } else {
    return __fdividef(1.0F, 1.0F + __expf(-z));
  }
}

/// f(z) and f′(z).
template <typename Element>
__device__ void activate(Activation activation, float slope, float z, Element& value,
                         Element& derivative) {
  if (activation == Activation::silu) {
    const float s = logistic<Element>(z), y = z * s;
    value = narrowed<Element>(y);
    derivative = narrowed<Element>(fmaf(y, 1.0F - s, s));
  } else {
    const float factor = z > 0.0F ? 1.0F : slope;
    value = narrowed<Element>(z * factor);
    derivative = narrowed<Element>(factor);
  }
}

}  // namespace stanley
