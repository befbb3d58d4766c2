#include "energy/gradient_engine.hpp"

#include <ATen/Parallel.h>

namespace stanley {

int GradientEngine::working_threads(std::int64_t) const { return at::get_num_threads(); }

}  // namespace stanley
