#include "energy/gradient_engine.hpp"

#include <ATen/Parallel.h>

#include "config/error.hpp"

namespace stanley {

void GradientEngine::hessian_product(const Points&, const at::Tensor&, at::Tensor&) {
  throw Error(ExitCode::bug, description() + " computes no products with the Hessian");
}

int GradientEngine::working_threads(std::int64_t) const { return at::get_num_threads(); }

}  // namespace stanley
