#pragma once

#include <bit>
#include <cstdint>

namespace stanley {

/// A bfloat16 number: the upper half of a float.
struct Bfloat16 {
  std::uint16_t bits;
};

inline float to_float(float value) { return value; }
inline float to_float(Bfloat16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}

template <typename Element>
Element from_float(float value);
template <>
inline float from_float<float>(float value) {
  return value;
}
/// Rounds to nearest, ties to even; a NaN stays one.
template <>
inline Bfloat16 from_float<Bfloat16>(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = bits + 0x7fffU + ((bits >> 16) & 1U);
  return {static_cast<std::uint16_t>((value == value ? rounded : bits | 0x400000U) >> 16)};
}

}  // namespace stanley
