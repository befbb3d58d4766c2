#include "kernels/loop_threads.hpp"
#include "kernels/order_statistic.hpp"

namespace stanley {

void order_statistic_cpu(const float* values, std::int64_t n, std::int64_t d, std::int64_t k,
                         float* out) {
  constexpr std::int64_t values_worth_threads = 4096;  // values, each read 31 times
#pragma omp parallel for num_threads(loop_threads()) \
    schedule(static) if (n * d > values_worth_threads)
  for (std::int64_t i = 0; i < n; ++i) out[i] = order_statistic_of_row(values + i * d, d, k);
}

}  // namespace stanley
