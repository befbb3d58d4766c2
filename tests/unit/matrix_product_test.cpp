#include "kernels/matrix_product.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "unit/instruction_sets.hpp"

namespace stanley {
namespace {

constexpr double u = 0x1p-24;

/// `count` numbers of [-1, 1) that do not repeat in a matrix's rows.
std::vector<float> numbers(std::int64_t count, std::int64_t seed) {
  std::vector<float> result;
  for (std::int64_t i = 0; i < count; ++i) {
    result.push_back(static_cast<float>(((i + seed) * 7919) % 100003) / 50001.5F - 1.0F);
  }
  return result;
}

/// A matrix [depth, columns] as panels [panel, row, panel_columns].
std::vector<float> in_panels(std::int64_t depth, std::int64_t columns,
                             const std::vector<float>& matrix) {
  std::vector<float> result;
  for (std::int64_t panel = 0; panel < columns; panel += panel_columns) {
    for (std::int64_t k = 0; k < depth; ++k) {
      const auto from = matrix.begin() + k * columns + panel;
      result.insert(result.end(), from, from + panel_columns);
    }
  }
  return result;
}

/// Of left [rows, depth] and a matrix [depth, columns] in panels, to rows that stand `row` apart.
MatrixProduct plain_product(std::int64_t rows, std::int64_t depth, std::int64_t columns,
                            const std::vector<float>& left, const std::vector<float>& panels,
                            std::vector<float>& result, std::int64_t row) {
  return {.rows = rows,
          .depth = depth,
          .columns = columns,
          .left = left.data(),
          .right = panels.data(),
          .right_panel = depth * panel_columns,
          .right_term = panel_columns,
          .result = result.data(),
          .result_row = row};
}

double element(const std::vector<float>& matrix, std::int64_t i) {
  return static_cast<double>(matrix[static_cast<std::size_t>(i)]);
}

/// What a product of left [rows, depth] and right [depth, columns] must be within.
class Expected {
 public:
  Expected(std::int64_t depth, std::int64_t columns, const std::vector<float>& left,
           const std::vector<float>& right)
      : depth_(depth), columns_(columns), left_(left), right_(right) {}

  /// Higham's bound: a sum of n terms is off by at most n·u times the sum of their sizes, to first
  /// order.
  void check(std::int64_t i, std::int64_t j, double start, float found) const {
    double sum = start, size = std::abs(start);
    const std::int64_t terms = depth_ + (start == 0 ? 0 : 1);
    for (std::int64_t k = 0; k < depth_; ++k) {
      const double term = element(left_, i * depth_ + k) * element(right_, k * columns_ + j);
      sum += term;
      size += std::abs(term);
    }
    ASSERT_NEAR(static_cast<double>(found), sum, 1.01 * static_cast<double>(terms) * u * size)
        << "row " << i << ", column " << j;
  }

 private:
  std::int64_t depth_, columns_;
  const std::vector<float>&left_, &right_;
};

class MatrixProduct : public EachInstructionSet {};
WITH_EACH_INSTRUCTION_SET(MatrixProduct);

/// Any number of rows, with whole and broken blocks, and of panels; what stands behind a row of the
/// result stays.
TEST_P(MatrixProduct, IsExactButForRounding) {
  constexpr float untouched = 77;
  for (std::int64_t rows = 1; rows <= 31; ++rows) {
    for (const std::int64_t columns : {16, 32, 48, 80}) {
      const std::int64_t depths[] = {1, 3, 16, 37, 200};
      const std::int64_t depth = depths[rows % 5], gap = 3;
      const std::vector<float> left = numbers(rows * depth, 1), right = numbers(depth * columns, 5);
      const std::vector<float> panels = in_panels(depth, columns, right);
      std::vector<float> result(static_cast<std::size_t>(rows * (columns + gap)), untouched);
      multiply_matrices(plain_product(rows, depth, columns, left, panels, result, columns + gap));
      const Expected expected(depth, columns, left, right);
      for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t j = 0; j < columns + gap; ++j) {
          const float found = result[static_cast<std::size_t>(i * (columns + gap) + j)];
          if (j < columns) {
            expected.check(i, j, 0, found);
          } else {
            ASSERT_EQ(found, untouched);
          }
        }
      }
    }
  }
}

/// As a filter's gradient asks for it: the transposed left side, a right side that stands row by
/// row, and sums in panels that go on.
TEST_P(MatrixProduct, AddsAProductOfATransposedMatrix) {
  const std::int64_t rows = 23, depth = 37, columns = 48;
  const std::vector<float> left = numbers(rows * depth, 1), right = numbers(depth * columns, 5);
  std::vector<float> transposed(left.size());
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t k = 0; k < depth; ++k) {
      transposed[static_cast<std::size_t>(k * rows + i)] =
          left[static_cast<std::size_t>(i * depth + k)];
    }
  }
  const std::vector<float> start = numbers(rows * columns, 9);
  std::vector<float> result = in_panels(rows, columns, start);
  multiply_matrices({.rows = rows,
                     .depth = depth,
                     .columns = columns,
                     .left = transposed.data(),
                     .left_row = 1,
                     .left_term = rows,
                     .right = right.data(),
                     .result = result.data(),
                     .result_panel = rows * panel_columns,
                     .result_row = panel_columns,
                     .adds = true});
  const Expected expected(depth, columns, left, right);
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      const std::int64_t at = (j / panel_columns * rows + i) * panel_columns + j % panel_columns;
      expected.check(i, j, element(start, i * columns + j), result[static_cast<std::size_t>(at)]);
    }
  }
}

TEST_P(MatrixProduct, TransposesPanels) {
  const std::int64_t depth = 32, columns = 48;
  const std::vector<float> matrix = numbers(depth * columns, 3);
  std::vector<float> transposed(matrix.size()), other_way(matrix.size());
  for (std::int64_t k = 0; k < depth; ++k) {
    for (std::int64_t j = 0; j < columns; ++j) {
      other_way[static_cast<std::size_t>(j * depth + k)] =
          matrix[static_cast<std::size_t>(k * columns + j)];
    }
  }
  transpose_panels(depth, columns, in_panels(depth, columns, matrix).data(), transposed.data());
  EXPECT_EQ(transposed, in_panels(columns, depth, other_way));
}

/// A chain's numbers must not depend on the chains beside it.
TEST_P(MatrixProduct, ARowHasTheSameBitsWhereverItStands) {
  const std::int64_t depth = 64, columns = 48;
  const std::vector<float> row = numbers(depth, 1), right = numbers(depth * columns, 5);
  const std::vector<float> panels = in_panels(depth, columns, right);
  std::vector<float> first;
  for (std::int64_t rows = 1; rows <= 30; ++rows) {
    std::vector<float> left, result(static_cast<std::size_t>(rows * columns));
    for (std::int64_t i = 0; i < rows; ++i) left.insert(left.end(), row.begin(), row.end());
    multiply_matrices(plain_product(rows, depth, columns, left, panels, result, columns));
    if (first.empty()) first = result;
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t j = 0; j < columns; ++j) {
        ASSERT_EQ(result[static_cast<std::size_t>(i * columns + j)],
                  first[static_cast<std::size_t>(j)])
            << "row " << i << " of " << rows;
      }
    }
  }
}

}  // namespace
}  // namespace stanley
