#include "kernels/order_statistic.hpp"

#include <bit>

namespace stanley::STANLEY_SET {

/// Non-negative floats are ordered like their bits, so the k-th smallest is found bit by bit: the
/// largest pattern with fewer than k values below it. 31 counting passes over a row in cache, which
/// vectorise, beat selection with its unpredictable branches.
float order_statistic_of_row(const float* row, std::int64_t d, std::int64_t k) {
  std::int32_t result = 0;
  for (int bit = 30; bit >= 0; --bit) {
    const std::int32_t candidate = result | (std::int32_t{1} << bit);
    std::int32_t below = 0;
    for (std::int64_t i = 0; i < d; ++i) {
      below += (std::bit_cast<std::int32_t>(row[i]) & 0x7fffffff) < candidate ? 1 : 0;
    }
    if (below < k) result = candidate;
  }
  return std::bit_cast<float>(result);
}

}  // namespace stanley::STANLEY_SET
