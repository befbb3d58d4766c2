#include "kernels/matrix_product.hpp"

#include "kernels/vectors.hpp"

namespace stanley::STANLEY_SET {
namespace {

/// Rows whose sums the registers hold beside two vectors of columns.
constexpr int most_rows = floats == 16 ? 14 : 6;

/// `rows` rows of some vectors of columns. `ahead`: what comes next of the right-hand side, a line
/// for each term.
template <int rows, int vectors>
STANLEY_INLINE void multiply_block(const MatrixProduct& product, const float* left,
                                   const float* right, const float* ahead, float* result) {
  const auto place = [](std::int64_t panel, int v) {
    const std::int64_t column = v * floats;
    return column / panel_columns * panel + column % panel_columns;
  };
  const auto sum_at = [&](int i, int v) {
    return result + i * product.result_row + place(product.result_panel, v);
  };
  Lanes sum[rows][vectors] = {};
  if (product.adds) {
#pragma GCC unroll 14
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) sum[i][v] = *at(sum_at(i, v));
    }
  }
  for (std::int64_t k = 0; k < product.depth; ++k) {
    // Into the first cache what comes soon, and into the second one what comes next: the filters of
    // a wide layer stand in the third.
    constexpr std::int64_t soon = 16;
    __builtin_prefetch(ahead + k * panel_columns, 0, 2);
    Lanes b[vectors];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) {
      const float* vector = right + place(product.right_panel, v);
      __builtin_prefetch(vector + soon * product.right_term);
      b[v] = *at(vector);
    }
#pragma GCC unroll 14
    for (int i = 0; i < rows; ++i) {
      const float a = left[i * product.left_row];
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) sum[i][v] += a * b[v];
    }
    left += product.left_term;
    right += product.right_term;
  }
#pragma GCC unroll 14
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) *at(sum_at(i, v)) = sum[i][v];
  }
}

/// The same for a number of rows that is only known here, at most `rows`.
template <int rows, int vectors>
STANLEY_INLINE void multiply_rows(std::int64_t count, const MatrixProduct& product,
                                  const float* left, const float* right, const float* ahead,
                                  float* result) {
  if constexpr (rows > 1) {
    if (count < rows) {
      return multiply_rows<rows - 1, vectors>(count, product, left, right, ahead, result);
    }
  }
  multiply_block<rows, vectors>(product, left, right, ahead, result);
}

/// All rows of some vectors of columns, in blocks of about the same size.
template <int vectors>
STANLEY_INLINE void multiply_columns(const MatrixProduct& product, std::int64_t column) {
  const std::int64_t panel = column / panel_columns;
  const float* right = product.right + panel * product.right_panel;
  const float* next =
      right + (vectors * floats + panel_columns - 1) / panel_columns * product.right_panel;
  const std::int64_t blocks = (product.rows + most_rows - 1) / most_rows;
  for (std::int64_t block = 0; block < blocks; ++block) {
    const std::int64_t first = block * product.rows / blocks,
                       end = (block + 1) * product.rows / blocks;
    const float* ahead = next + block % 2 * product.depth * panel_columns;
    multiply_rows<most_rows, vectors>(
        end - first, product, product.left + first * product.left_row, right, ahead,
        product.result + panel * product.result_panel + first * product.result_row);
  }
}

}  // namespace

void multiply_matrices(const MatrixProduct& product) {
  std::int64_t column = 0;
  for (; column + 2 * floats <= product.columns; column += 2 * floats) {
    multiply_columns<2>(product, column);
  }
  if (column < product.columns) multiply_columns<1>(product, column);
}

}  // namespace stanley::STANLEY_SET
