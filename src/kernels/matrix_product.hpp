#pragma once

#include <cstdint>

#include "kernels/kernel.hpp"

namespace stanley {

/// Columns that stand side by side: a register of AVX-512, two of AVX2.
constexpr std::int64_t panel_columns = 16;

/// result[i, j] ← Σ over k of left[i, k]·right[k, j] in float32, or that added to what `result`
/// holds. The terms of a sum go in the order of k, whatever else is computed beside it: a row has
/// the same bits wherever it stands. `right` and `result` are read and written in panels of
/// `panel_columns` columns. Each matrix stands row by row unless its steps, in elements, say
/// otherwise.
struct MatrixProduct {
  std::int64_t rows, depth, columns;  ///< columns: a multiple of panel_columns
  const float* left;
  std::int64_t left_row = depth, left_term = 1;
  const float* right;
  std::int64_t right_panel = panel_columns, right_term = columns;
  float* result;
  std::int64_t result_panel = panel_columns, result_row = columns;
  bool adds = false;
};

namespace plain {
void multiply_matrices(const MatrixProduct& product);
}
STANLEY_KERNEL(multiply_matrices)

/// From a matrix [depth, columns] in panels [panel, row, panel_columns] to the transposed one's,
/// [panel, column, panel_columns]; both sides are multiples of panel_columns.
void transpose_panels(std::int64_t depth, std::int64_t columns, const float* matrix,
                      float* transposed);

}  // namespace stanley
