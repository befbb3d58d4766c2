#include "energy/matrix_product.hpp"

#include <algorithm>

#include "energy/vectorized.hpp"

namespace stanley {
namespace {

template <int floats>
STANLEY_INLINE const Lanes<floats>& at(const float* address) {
  return *reinterpret_cast<const Lanes<floats>*>(address);
}
template <int floats>
STANLEY_INLINE Lanes<floats>& at(float* address) {
  return *reinterpret_cast<Lanes<floats>*>(address);
}

/// Rows whose sums the registers hold beside two vectors of columns.
template <int floats>
constexpr int most_rows = floats == 16 ? 14 : 6;

/// `rows` rows of some vectors of columns. `ahead`: what comes next of the right-hand side, a line
/// for each term.
template <int floats, int rows, int vectors>
STANLEY_INLINE void multiply_block(const MatrixProduct& product, const float* left,
                                   const float* right, const float* ahead, float* result) {
  const auto place = [&](int v) STANLEY_ALWAYS_INLINE {
    const std::int64_t column = v * floats;
    return column / panel_columns * product.right_panel + column % panel_columns;
  };
  Lanes<floats> sum[rows][vectors] = {};
  if (product.adds) {
#pragma GCC unroll 14
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) {
        sum[i][v] = at<floats>(result + i * product.result_row + v * floats);
      }
    }
  }
  for (std::int64_t k = 0; k < product.depth; ++k) {
    // Into the first cache what comes soon, and into the second one what comes next: the filters of
    // a wide layer stand in the third.
    constexpr std::int64_t soon = 16;
    __builtin_prefetch(ahead + k * panel_columns, 0, 2);
    Lanes<floats> b[vectors];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) {
      __builtin_prefetch(right + place(v) + soon * product.right_term);
      b[v] = at<floats>(right + place(v));
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
    for (int v = 0; v < vectors; ++v) {
      at<floats>(result + i * product.result_row + v * floats) = sum[i][v];
    }
  }
}

/// The same for a number of rows that is only known here, at most `rows`.
template <int floats, int rows, int vectors>
STANLEY_INLINE void multiply_rows(std::int64_t count, const MatrixProduct& product,
                                  const float* left, const float* right, const float* ahead,
                                  float* result) {
  if constexpr (rows > 1) {
    if (count < rows) {
      return multiply_rows<floats, rows - 1, vectors>(count, product, left, right, ahead, result);
    }
  }
  multiply_block<floats, rows, vectors>(product, left, right, ahead, result);
}

/// All rows of some vectors of columns, in blocks of about the same size.
template <int floats, int vectors>
STANLEY_INLINE void multiply_columns(const MatrixProduct& product, std::int64_t column) {
  const float* right = product.right + column / panel_columns * product.right_panel;
  const float* next =
      right + (vectors * floats + panel_columns - 1) / panel_columns * product.right_panel;
  const std::int64_t blocks = (product.rows + most_rows<floats> - 1) / most_rows<floats>;
  for (std::int64_t block = 0; block < blocks; ++block) {
    const std::int64_t first = block * product.rows / blocks,
                       end = (block + 1) * product.rows / blocks;
    const float* ahead = next + block % 2 * product.depth * panel_columns;
    multiply_rows<floats, most_rows<floats>, vectors>(
        end - first, product, product.left + first * product.left_row, right, ahead,
        product.result + first * product.result_row + column);
  }
}

}  // namespace

void multiply(const MatrixProduct& product) {
  with_vectors([&](auto floats) STANLEY_ALWAYS_INLINE {
    std::int64_t column = 0;
    for (; column + 2 * floats() <= product.columns; column += 2 * floats()) {
      multiply_columns<floats(), 2>(product, column);
    }
    if (column < product.columns) multiply_columns<floats(), 1>(product, column);
  });
}

void pack_panels(std::int64_t depth, std::int64_t columns, const float* matrix, float* panels) {
  for (std::int64_t panel = 0; panel < columns; panel += panel_columns) {
    for (std::int64_t k = 0; k < depth; ++k, panels += panel_columns) {
      std::copy_n(matrix + k * columns + panel, panel_columns, panels);
    }
  }
}

void pack_transposed_panels(std::int64_t depth, std::int64_t columns, const float* matrix,
                            float* panels) {
  for (std::int64_t panel = 0; panel < depth; panel += panel_columns) {
    for (std::int64_t k = 0; k < columns; ++k, panels += panel_columns) {
      const float* from = matrix + panel * columns + k;
      for (std::int64_t j = 0; j < panel_columns; ++j) panels[j] = from[j * columns];
    }
  }
}

}  // namespace stanley
