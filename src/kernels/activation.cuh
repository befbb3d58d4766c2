#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "config/activation.hpp"
#include "kernels/bfloat16.hpp"

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
    float power, s;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(-1.44269504F * z));
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(s) : "f"(1.0F + power));
    return s;
  }
}

/// f(z) and f′(z), for results that are stored as Elements.
template <typename Element>
__device__ void activate(Activation activation, float slope, float z, float& value,
                         float& derivative) {
  if (activation == Activation::silu) {
    const float s = logistic<Element>(z);
    value = z * s;
    derivative = fmaf(-value, s, value + s);
  } else {
    derivative = z > 0.0F ? 1.0F : slope;
    value = z * derivative;
  }
}

}  // namespace stanley
