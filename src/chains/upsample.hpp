#pragma once

#include <ATen/core/Tensor.h>

namespace stanley {

/// Images [..., h, w] float32 on the CPU as images [..., 2h, 2w]: bilinear, each new pixel's centre
/// a quarter of an old pixel from the nearest one's, whose weight is ¾ in each direction; at the
/// edges the nearest one alone. Each number is a function of its own image: the same however many
/// there are.
at::Tensor upsample_twice(const at::Tensor& images);

}  // namespace stanley
