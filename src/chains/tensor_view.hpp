#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <span>

#include "storage/array.hpp"

namespace stanley {

/// Lets the view show all of a contiguous float32 or int64 tensor, on whatever device: fills in its
/// type, where the numbers are and, where it has none, the shape.
ArrayView showing(const at::Tensor& tensor, ArrayView view);

/// All numbers of a contiguous tensor on the CPU, to be read and written.
template <typename Value>
std::span<Value> values_of(const at::Tensor& tensor) {
  return {tensor.mutable_data_ptr<Value>(), static_cast<std::size_t>(tensor.numel())};
}

}  // namespace stanley
