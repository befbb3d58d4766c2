#include "energy/weight_gradient.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

namespace stanley {

void WeightGradient::evaluate_parts(std::int64_t parts, const at::Tensor& state,
                                    const at::Tensor& constant, const at::Tensor& slope,
                                    at::Tensor& energy, const TakePart& take) {
  const std::int64_t size = state.size(0) / parts;
  for (std::int64_t part = 0; part < parts; ++part) {
    const auto of_part = [&](const at::Tensor& all) { return all.narrow(0, part * size, size); };
    at::Tensor energies = of_part(energy);
    take(part, evaluate(of_part(state), of_part(constant), of_part(slope), energies));
  }
}

int WeightGradient::working_threads(std::int64_t, std::int64_t) const {
  return at::get_num_threads();
}

}  // namespace stanley
