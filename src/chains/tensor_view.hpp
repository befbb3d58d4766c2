#pragma once

#include <ATen/core/Tensor.h>

#include "storage/array.hpp"

namespace stanley {

/// Lets the view show all of a contiguous float32 or int64 tensor, on whatever device: fills in its
/// type, where the numbers are and, where it has none, the shape.
ArrayView showing(const at::Tensor& tensor, ArrayView view);

}  // namespace stanley
