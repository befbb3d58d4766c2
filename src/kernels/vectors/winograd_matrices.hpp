#pragma once

#include <type_traits>

#include "kernels/vectors.hpp"

namespace stanley::STANLEY_SET {

template <int rows, int columns>
struct Matrix {
  float at[rows][columns];
};

template <int rows, int columns>
constexpr Matrix<columns, rows> transposed(const Matrix<rows, columns>& matrix) {
  Matrix<columns, rows> result = {};
  for (int row = 0; row < rows; ++row) {
    for (int column = 0; column < columns; ++column)
      result.at[column][row] = matrix.at[row][column];
  }
  return result;
}

/// A matrix as a product, left · right, that takes less arithmetic than the matrix itself: what
/// several rows have in common is a row of `right`.
template <int rows, int inner, int columns>
struct Product {
  Matrix<rows, inner> left;
  Matrix<inner, columns> right;
};

template <int rows, int inner, int columns>
constexpr Product<columns, inner, rows> transposed(const Product<rows, inner, columns>& product) {
  return {transposed(product.right), transposed(product.left)};
}

template <int size>
constexpr Matrix<size, size> identity() {
  Matrix<size, size> result = {};
  for (int i = 0; i < size; ++i) result.at[i][i] = 1;
  return result;
}

/// The matrices for tiles of m outputs and filters of r taps, by Toom and Cook's interpolation at
/// infinity and at the first of 0, 1, −1, 2 and −2 (for m = r = 2 at 0 and 1): G, Bᵀ and Aᵀ of
/// kernels/winograd.hpp.
template <int m, int r>
struct WinogradMatrices;

template <>
struct WinogradMatrices<2, 2> {
  static constexpr double filter[3][2] = {{-1, 0}, {1, 1}, {0, 1}};
  static constexpr Product<3, 3, 3> input = {{{{-1, 1, 0}, {0, 1, 0}, {0, -1, 1}}}, identity<3>()};
  static constexpr Product<2, 3, 3> output = {{{{1, 1, 0}, {0, 1, 1}}}, identity<3>()};
};

template <>
struct WinogradMatrices<3, 2> {
  static constexpr double filter[4][2] = {{-1, 0}, {1.0 / 2, 1.0 / 2}, {1.0 / 2, -1.0 / 2}, {0, 1}};
  static constexpr Product<4, 4, 4> input = {
      {{{-1, 0, 1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, -1, 0, 1}}}, identity<4>()};
  /// {1, 1, 1, 0}, {0, 1, −1, 0}, {0, 1, 1, 1}
  static constexpr Product<3, 4, 4> output = {
      {{{1, 1, 0, 0}, {0, 0, 1, 0}, {0, 1, 0, 1}}},
      {{{1, 0, 0, 0}, {0, 1, 1, 0}, {0, 1, -1, 0}, {0, 0, 0, 1}}}};
};

template <>
struct WinogradMatrices<4, 2> {
  static constexpr double filter[5][2] = {
      {1.0 / 2, 0}, {-1.0 / 2, -1.0 / 2}, {-1.0 / 6, 1.0 / 6}, {1.0 / 6, 1.0 / 3}, {0, 1}};
  /// {2, −1, −2, 1, 0}, {0, −2, −1, 1, 0}, {0, 2, −3, 1, 0}, {0, −1, 0, 1, 0}, {0, 2, −1, −2, 1}
  static constexpr Product<5, 5, 5> input = {
      {{{1, 2, 0, 0, 0}, {1, 0, -1, 0, 0}, {1, 0, 0, 3, 0}, {1, 0, 0, 0, 0}, {-2, 0, 0, 0, 1}}},
      {{{0, -1, 0, 1, 0}, {1, 0, -1, 0, 0}, {0, 1, 1, 0, 0}, {0, 1, -1, 0, 0}, {0, 0, -1, 0, 1}}}};
  /// {1, 1, 1, 1, 0}, {0, 1, −1, 2, 0}, {0, 1, 1, 4, 0}, {0, 1, −1, 8, 1}
  static constexpr Product<4, 5, 5> output = {
      {{{1, 1, 0, 1, 0}, {0, 0, 1, 2, 0}, {0, 1, 0, 4, 0}, {0, 0, 1, 8, 1}}},
      {{{1, 0, 0, 0, 0}, {0, 1, 1, 0, 0}, {0, 1, -1, 0, 0}, {0, 0, 0, 1, 0}, {0, 0, 0, 0, 1}}}};
};

template <>
struct WinogradMatrices<2, 3> {
  static constexpr double filter[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
  static constexpr Product<4, 4, 4> input = {
      {{{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, -1, 0, 1}}}, identity<4>()};
  static constexpr Product<2, 4, 4> output = {{{{1, 1, 1, 0}, {0, 1, -1, 1}}}, identity<4>()};
};

template <>
struct WinogradMatrices<4, 3> {
  static constexpr double filter[6][3] = {{1.0 / 4, 0, 0},
                                          {-1.0 / 6, -1.0 / 6, -1.0 / 6},
                                          {-1.0 / 6, 1.0 / 6, -1.0 / 6},
                                          {1.0 / 24, 1.0 / 12, 1.0 / 6},
                                          {1.0 / 24, -1.0 / 12, 1.0 / 6},
                                          {0, 0, 1}};
  /// {4, 0, −5, 0, 1, 0}, {0, −4, −4, 1, 1, 0}, {0, 4, −4, −1, 1, 0}, {0, −2, −1, 2, 1, 0},
  /// {0, 2, −1, −2, 1, 0}, {0, 4, 0, −5, 0, 1}
  static constexpr Product<6, 6, 6> input = {{{{0, 1, 0, 4, 0, 0},
                                               {1, 0, 1, 0, 0, 0},
                                               {1, 0, -1, 0, 0, 0},
                                               {0, 1, 0, 0, 2, 0},
                                               {0, 1, 0, 0, -2, 0},
                                               {0, 0, 0, 0, -4, 1}}},
                                             {{{0, 0, -4, 0, 1, 0},
                                               {0, 0, -1, 0, 1, 0},
                                               {0, -4, 0, 1, 0, 0},
                                               {1, 0, -1, 0, 0, 0},
                                               {0, -1, 0, 1, 0, 0},
                                               {0, 0, 0, -1, 0, 1}}}};
  /// {1, 1, 1, 1, 1, 0}, {0, 1, −1, 2, −2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, −1, 8, −8, 1}
  static constexpr Product<4, 6, 6> output = {
      {{{1, 1, 0, 1, 0, 0}, {0, 0, 1, 0, 2, 0}, {0, 1, 0, 4, 0, 0}, {0, 0, 1, 0, 8, 1}}},
      {{{1, 0, 0, 0, 0, 0},
        {0, 1, 1, 0, 0, 0},
        {0, 1, -1, 0, 0, 0},
        {0, 0, 0, 1, 1, 0},
        {0, 0, 0, 1, -1, 0},
        {0, 0, 0, 0, 0, 1}}}};
};

/// out[row] = Σ matrix[row][column]·in[column]; the loops unroll, and zeros and ones cost nothing.
template <int rows, int columns>
STANLEY_INLINE void multiply_vector(const Matrix<rows, columns>& matrix, const Lanes* in,
                                    Lanes* out) {
  // Ones go first: then no sign has to be changed, and other products are fused with additions.
  const auto turn = [](float factor) {
    return factor == 1 ? 0 : factor == -1 ? 1 : factor != 0 ? 2 : 3;
  };
#pragma GCC unroll 6
  for (int row = 0; row < rows; ++row) {
    Lanes sum = {};
    bool empty = true;
#pragma GCC unroll 18
    for (int term = 0; term < 3 * columns; ++term) {
      const int column = term % columns;
      const float factor = matrix.at[row][column];
      if (turn(factor) != term / columns) continue;
      const Lanes& value = in[column];
      if (empty) {
        sum = factor == 1 ? value : factor == -1 ? -value : factor * value;
      } else {
        sum = factor == 1 ? sum + value : factor == -1 ? sum - value : sum + factor * value;
      }
      empty = false;
    }
    out[row] = sum;
  }
}

template <int rows, int inner, int columns>
STANLEY_INLINE void multiply_vector(const Product<rows, inner, columns>& product, const Lanes* in,
                                    Lanes* out) {
  Lanes middle[inner];
  multiply_vector(product.right, in, middle);
  multiply_vector(product.left, middle, out);
}

/// out [rows, rows] = matrix · in [columns, columns] · matrixᵀ for the matrix that the product
/// stands for. load(row, column, value) gives an element of `in`; store(row, column, value) takes
/// one of `out` as soon as it is there, while registers hold it.
template <int rows, int inner, int columns, typename Load, typename Store>
STANLEY_INLINE void multiply_both_sides(const Product<rows, inner, columns>& product,
                                        const Load& load, const Store& store) {
  Lanes half[rows][columns];
#pragma GCC unroll 6
  for (int column = 0; column < columns; ++column) {
    Lanes in[columns], out[rows];
#pragma GCC unroll 6
    for (int row = 0; row < columns; ++row) load(row, column, in[row]);
    multiply_vector(product, in, out);
#pragma GCC unroll 6
    for (int row = 0; row < rows; ++row) half[row][column] = out[row];
  }
#pragma GCC unroll 6
  for (int row = 0; row < rows; ++row) {
    Lanes out[rows];
    multiply_vector(product, half[row], out);
#pragma GCC unroll 6
    for (int column = 0; column < rows; ++column) store(row, column, out[column]);
  }
}

}  // namespace stanley::STANLEY_SET
