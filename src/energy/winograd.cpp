#include "energy/winograd.hpp"

#include <algorithm>

#include "energy/vectorized.hpp"

namespace stanley {
namespace {

/// The matrices for tiles of `side` outputs and filters of two taps, by Toom and Cook's
/// interpolation at 0 and 1, or at 0, 1, −1 and 2, and at infinity.
template <int side>
struct Matrices;

template <>
struct Matrices<2> {
  static constexpr double filter[3][2] = {{-1, 0}, {1, 1}, {0, 1}};          // G
  static constexpr float input[3][3] = {{-1, 1, 0}, {0, 1, 0}, {0, -1, 1}};  // Bᵀ
  static constexpr float output[2][3] = {{1, 1, 0}, {0, 1, 1}};              // Aᵀ
  static constexpr float input_adjoint[3][3] = {{-1, 0, 0}, {1, 1, -1}, {0, 0, 1}};
  static constexpr float output_adjoint[3][2] = {{1, 0}, {1, 1}, {0, 1}};
};

template <>
struct Matrices<4> {
  static constexpr double filter[5][2] = {
      {1.0 / 2, 0}, {-1.0 / 2, -1.0 / 2}, {-1.0 / 6, 1.0 / 6}, {1.0 / 6, 1.0 / 3}, {0, 1}};
  static constexpr float input[5][5] = {
      {2, -1, -2, 1, 0}, {0, -2, -1, 1, 0}, {0, 2, -3, 1, 0}, {0, -1, 0, 1, 0}, {0, 2, -1, -2, 1}};
  static constexpr float output[4][5] = {
      {1, 1, 1, 1, 0}, {0, 1, -1, 2, 0}, {0, 1, 1, 4, 0}, {0, 1, -1, 8, 1}};
  static constexpr float input_adjoint[5][5] = {
      {2, 0, 0, 0, 0}, {-1, -2, 2, -1, 2}, {-2, -1, -3, 0, -1}, {1, 1, 1, 1, -2}, {0, 0, 0, 0, 1}};
  static constexpr float output_adjoint[5][4] = {
      {1, 0, 0, 0}, {1, 1, 1, 1}, {1, -1, 1, -1}, {1, 2, 4, 8}, {0, 0, 0, 1}};
};

/// out[row] = Σ matrix[row][column]·in[column]; the loops unroll, and zeros and ones cost nothing.
template <int rows, int columns>
STANLEY_INLINE void multiply_vector(const float (&matrix)[rows][columns], const Lanes* in,
                                    int in_stride, Lanes* out, int out_stride) {
#pragma GCC unroll 5
  for (int row = 0; row < rows; ++row) {
    Lanes sum = {};
    bool empty = true;
#pragma GCC unroll 5
    for (int column = 0; column < columns; ++column) {
      const float factor = matrix[row][column];
      if (factor == 0) continue;
      const Lanes& value = in[column * in_stride];
      if (empty) {
        sum = factor == 1 ? value : factor == -1 ? -value : factor * value;
      } else if (factor == 1) {
        sum += value;
      } else if (factor == -1) {
        sum -= value;
      } else {
        sum += factor * value;
      }
      empty = false;
    }
    out[row * out_stride] = sum;
  }
}

/// out [rows, rows] = matrix · in [columns, columns] · matrixᵀ.
template <int rows, int columns>
STANLEY_INLINE void multiply_both_sides(const float (&matrix)[rows][columns], const Lanes* in,
                                        Lanes* out) {
  Lanes half[rows * columns];
#pragma GCC unroll 5
  for (int column = 0; column < columns; ++column) {
    multiply_vector(matrix, in + column, columns, half + column, columns);
  }
#pragma GCC unroll 5
  for (int row = 0; row < rows; ++row) {
    multiply_vector(matrix, half + row * columns, 1, out + row * rows, 1);
  }
}

STANLEY_INLINE const Lanes& at(const float* address) {
  return *reinterpret_cast<const Lanes*>(address);
}
STANLEY_INLINE Lanes& at(float* address) { return *reinterpret_cast<Lanes*>(address); }

template <int m>
STANLEY_INLINE void input_pass(const WinogradTiles& tiles, const float* image, std::int64_t stride,
                               float* transformed) {
  constexpr int n = m + 1;
  const ImageLayout& layout = tiles.input;
  const std::int64_t channels = layout.channels;
  for (std::int64_t tile = 0; tile < tiles.count(); ++tile) {
    const std::int64_t y = tile / tiles.width * m, x = tile % tiles.width * m;
    for (std::int64_t phase = 0; phase < 4; ++phase) {
      const std::int64_t row = 2 * y + phase / 2, column = 2 * x + phase % 2;
      const float* source = image + (row * layout.columns + column) * channels;
      float* target = transformed + (tile * 4 + phase) * channels;
      for (std::int64_t channel = 0; channel < channels; channel += lanes) {
        Lanes in[n * n], out[n * n];
#pragma GCC unroll 25
        for (int i = 0; i < n * n; ++i) {
          in[i] = at(source + 2 * (i / n * layout.columns + i % n) * channels + channel);
        }
        multiply_both_sides(Matrices<m>::input, in, out);
#pragma GCC unroll 25
        for (int i = 0; i < n * n; ++i) at(target + i * stride + channel) = out[i];
      }
    }
  }
}

template <int m>
STANLEY_INLINE void input_adjoint_pass(const WinogradTiles& tiles, const float* transformed,
                                       std::int64_t stride, float* image) {
  constexpr int n = m + 1;
  const ImageLayout& layout = tiles.input;
  const std::int64_t channels = layout.channels;
  std::fill_n(image, layout.size(), 0.0F);
  for (std::int64_t tile = 0; tile < tiles.count(); ++tile) {
    const std::int64_t y = tile / tiles.width * m, x = tile % tiles.width * m;
    for (std::int64_t phase = 0; phase < 4; ++phase) {
      const std::int64_t row = 2 * y + phase / 2, column = 2 * x + phase % 2;
      const float* source = transformed + (tile * 4 + phase) * channels;
      float* target = image + (row * layout.columns + column) * channels;
      for (std::int64_t channel = 0; channel < channels; channel += lanes) {
        Lanes in[n * n], out[n * n];
#pragma GCC unroll 25
        for (int i = 0; i < n * n; ++i) in[i] = at(source + i * stride + channel);
        multiply_both_sides(Matrices<m>::input_adjoint, in, out);
        // Neighbouring tiles share a row or a column of their windows.
#pragma GCC unroll 25
        for (int i = 0; i < n * n; ++i) {
          at(target + 2 * (i / n * layout.columns + i % n) * channels + channel) += out[i];
        }
      }
    }
  }
}

template <int m>
STANLEY_INLINE void output_pass(const WinogradTiles& tiles, const float* products,
                                std::int64_t stride, const float* bias, float* image) {
  constexpr int n = m + 1;
  const ImageLayout& layout = tiles.output;
  const std::int64_t channels = layout.channels;
  for (std::int64_t tile = 0; tile < tiles.count(); ++tile) {
    const std::int64_t y = tile / tiles.width * m, x = tile % tiles.width * m;
    const std::int64_t rows = std::min<std::int64_t>(m, layout.height - y);
    const std::int64_t columns = std::min<std::int64_t>(m, layout.width - x);
    float* target = image + layout.row(y) + x * channels;
    for (std::int64_t channel = 0; channel < channels; channel += lanes) {
      Lanes in[n * n], out[m * m];
#pragma GCC unroll 25
      for (int i = 0; i < n * n; ++i) {
        in[i] = at(products + i * stride + tile * channels + channel);
      }
      multiply_both_sides(Matrices<m>::output, in, out);
      for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t column = 0; column < columns; ++column) {
          at(target + (row * layout.columns + column) * channels + channel) =
              out[row * m + column] + at(bias + channel);
        }
      }
    }
  }
}

template <int m>
STANLEY_INLINE void output_adjoint_pass(const WinogradTiles& tiles, const float* image,
                                        std::int64_t stride, float* products) {
  constexpr int n = m + 1;
  const ImageLayout& layout = tiles.output;
  const std::int64_t channels = layout.channels;
  for (std::int64_t tile = 0; tile < tiles.count(); ++tile) {
    const std::int64_t y = tile / tiles.width * m, x = tile % tiles.width * m;
    const float* source = image + layout.row(y) + x * channels;
    for (std::int64_t channel = 0; channel < channels; channel += lanes) {
      Lanes in[m * m], out[n * n];
#pragma GCC unroll 16
      for (int i = 0; i < m * m; ++i) {
        in[i] = at(source + (i / m * layout.columns + i % m) * channels + channel);
      }
      multiply_both_sides(Matrices<m>::output_adjoint, in, out);
#pragma GCC unroll 25
      for (int i = 0; i < n * n; ++i) {
        at(products + i * stride + tile * channels + channel) = out[i];
      }
    }
  }
}

template <int m>
std::vector<float> filter_pass(const WinogradTiles& tiles, std::int64_t out, std::int64_t in,
                               const float* weight) {
  constexpr int n = m + 1;
  const auto& g = Matrices<m>::filter;
  const std::int64_t out_channels = tiles.output.channels, in_channels = tiles.input.channels;
  std::vector<float> result(static_cast<std::size_t>(n * n * 4 * in_channels * out_channels));
  for (std::int64_t point = 0; point < n * n; ++point) {
    for (std::int64_t phase = 0; phase < 4; ++phase) {
      for (std::int64_t i = 0; i < in; ++i) {
        for (std::int64_t o = 0; o < out; ++o) {
          // Taps of this phase: every second row and column of the 4×4 kernel.
          const float* taps = weight + (o * in + i) * 16 + phase / 2 * 4 + phase % 2;
          const double top = g[point % n][0] * taps[0] + g[point % n][1] * taps[2];
          const double bottom = g[point % n][0] * taps[8] + g[point % n][1] * taps[10];
          result[static_cast<std::size_t>(((point * 4 + phase) * in_channels + i) * out_channels +
                                          o)] =
              static_cast<float>(g[point / n][0] * top + g[point / n][1] * bottom);
        }
      }
    }
  }
  return result;
}

}  // namespace

WinogradTiles winograd_tiles(std::int64_t out_height, std::int64_t out_width) {
  // Large tiles save arithmetic; small ones fit small images, and make matrix products of more rows
  // and fewer weights of them.
  const std::int64_t side = std::min(out_height, out_width) >= 8 ? 4 : 2;
  return {.side = side,
          .height = (out_height + side - 1) / side,
          .width = (out_width + side - 1) / side,
          .input = {},
          .output = {}};
}

std::int64_t winograd_input_extent(std::int64_t side, std::int64_t tiles) {
  return 2 * side * tiles + 2;
}
std::int64_t winograd_output_extent(std::int64_t side, std::int64_t tiles) {
  return 1 + side * tiles;
}

std::vector<float> winograd_filter(const WinogradTiles& tiles, std::int64_t out, std::int64_t in,
                                   const float* weight) {
  return tiles.side == 2 ? filter_pass<2>(tiles, out, in, weight)
                         : filter_pass<4>(tiles, out, in, weight);
}

STANLEY_VECTORIZED void winograd_input(const WinogradTiles& tiles, const float* image,
                                       std::int64_t stride, float* transformed) {
  if (tiles.side == 2) return input_pass<2>(tiles, image, stride, transformed);
  input_pass<4>(tiles, image, stride, transformed);
}

STANLEY_VECTORIZED void winograd_output(const WinogradTiles& tiles, const float* products,
                                        std::int64_t stride, const float* bias, float* image) {
  if (tiles.side == 2) return output_pass<2>(tiles, products, stride, bias, image);
  output_pass<4>(tiles, products, stride, bias, image);
}

STANLEY_VECTORIZED void winograd_output_adjoint(const WinogradTiles& tiles, const float* image,
                                                std::int64_t stride, float* products) {
  if (tiles.side == 2) return output_adjoint_pass<2>(tiles, image, stride, products);
  output_adjoint_pass<4>(tiles, image, stride, products);
}

STANLEY_VECTORIZED void winograd_input_adjoint(const WinogradTiles& tiles, const float* transformed,
                                               std::int64_t stride, float* image) {
  if (tiles.side == 2) return input_adjoint_pass<2>(tiles, transformed, stride, image);
  input_adjoint_pass<4>(tiles, transformed, stride, image);
}

}  // namespace stanley
