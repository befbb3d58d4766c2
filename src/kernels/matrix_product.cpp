#include "kernels/matrix_product.hpp"

namespace stanley {

void transpose_panels(std::int64_t depth, std::int64_t columns, const float* matrix,
                      float* transposed) {
  constexpr std::int64_t n = panel_columns;
  for (std::int64_t row = 0; row < depth; row += n) {
    for (std::int64_t column = 0; column < columns; column += n) {
      const float* from = matrix + (column / n * depth + row) * n;
      float* to = transposed + (row / n * columns + column) * n;
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j < n; ++j) to[i * n + j] = from[j * n + i];
      }
    }
  }
}

}  // namespace stanley
