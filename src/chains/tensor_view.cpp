#include "chains/tensor_view.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace stanley {

ArrayView showing(const at::Tensor& tensor, ArrayView view) {
  const at::ScalarType type = tensor.scalar_type();
  view.type = type == at::kLong ? ElementType::int64 : ElementType::float32;
  if (view.shape.empty()) view.shape = tensor.sizes().vec();
  if (tensor.is_cpu()) {
    view.data = tensor.mutable_data_ptr();
    return view;
  }
  view.copy_out = [tensor, type](void* to) {
    at::from_blob(to, tensor.sizes(), type).copy_(tensor);
  };
  view.copy_in = [tensor, type](const void* from) {
    const c10::NoGradGuard no_gradient;
    tensor.copy_(at::from_blob(const_cast<void*>(from), tensor.sizes(), type));
  };
  return view;
}

}  // namespace stanley
