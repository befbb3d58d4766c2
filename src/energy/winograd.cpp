#include "energy/winograd.hpp"

#include <algorithm>

#include "energy/vectorized.hpp"

namespace stanley {
namespace {

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

/// The matrices for tiles of m outputs and filters of r taps, by Toom and Cook's interpolation at
/// infinity and at the first of 0, 1, −1, 2 and −2 (for m = r = 2 at 0 and 1).
template <int m, int r>
struct Transforms;

template <>
struct Transforms<2, 2> {
  static constexpr double filter[3][2] = {{-1, 0}, {1, 1}, {0, 1}};             // G
  static constexpr Matrix<3, 3> input = {{{-1, 1, 0}, {0, 1, 0}, {0, -1, 1}}};  // Bᵀ
  static constexpr Matrix<2, 3> output = {{{1, 1, 0}, {0, 1, 1}}};              // Aᵀ
};

template <>
struct Transforms<4, 2> {
  static constexpr double filter[5][2] = {
      {1.0 / 2, 0}, {-1.0 / 2, -1.0 / 2}, {-1.0 / 6, 1.0 / 6}, {1.0 / 6, 1.0 / 3}, {0, 1}};
  static constexpr Matrix<5, 5> input = {{{2, -1, -2, 1, 0},
                                          {0, -2, -1, 1, 0},
                                          {0, 2, -3, 1, 0},
                                          {0, -1, 0, 1, 0},
                                          {0, 2, -1, -2, 1}}};
  static constexpr Matrix<4, 5> output = {
      {{1, 1, 1, 1, 0}, {0, 1, -1, 2, 0}, {0, 1, 1, 4, 0}, {0, 1, -1, 8, 1}}};
};

template <>
struct Transforms<2, 3> {
  static constexpr double filter[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
  static constexpr Matrix<4, 4> input = {
      {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, -1, 0, 1}}};
  static constexpr Matrix<2, 4> output = {{{1, 1, 1, 0}, {0, 1, -1, 1}}};
};

template <>
struct Transforms<4, 3> {
  static constexpr double filter[6][3] = {{1.0 / 4, 0, 0},
                                          {-1.0 / 6, -1.0 / 6, -1.0 / 6},
                                          {-1.0 / 6, 1.0 / 6, -1.0 / 6},
                                          {1.0 / 24, 1.0 / 12, 1.0 / 6},
                                          {1.0 / 24, -1.0 / 12, 1.0 / 6},
                                          {0, 0, 1}};
  static constexpr Matrix<6, 6> input = {{{4, 0, -5, 0, 1, 0},
                                          {0, -4, -4, 1, 1, 0},
                                          {0, 4, -4, -1, 1, 0},
                                          {0, -2, -1, 2, 1, 0},
                                          {0, 2, -1, -2, 1, 0},
                                          {0, 4, 0, -5, 0, 1}}};
  static constexpr Matrix<4, 6> output = {
      {{1, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, -1, 8, -8, 1}}};
};

/// out[row] = Σ matrix[row][column]·in[column]; the loops unroll, and zeros and ones cost nothing.
template <int floats, int rows, int columns>
STANLEY_INLINE void multiply_vector(const Matrix<rows, columns>& matrix, const Lanes<floats>* in,
                                    int in_stride, Lanes<floats>* out, int out_stride) {
#pragma GCC unroll 6
  for (int row = 0; row < rows; ++row) {
    Lanes<floats> sum = {};
    bool empty = true;
#pragma GCC unroll 6
    for (int column = 0; column < columns; ++column) {
      const float factor = matrix.at[row][column];
      if (factor == 0) continue;
      const Lanes<floats>& value = in[column * in_stride];
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
template <int floats, int rows, int columns>
STANLEY_INLINE void multiply_both_sides(const Matrix<rows, columns>& matrix,
                                        const Lanes<floats>* in, Lanes<floats>* out) {
  Lanes<floats> half[rows * columns];
#pragma GCC unroll 6
  for (int column = 0; column < columns; ++column) {
    multiply_vector<floats>(matrix, in + column, columns, half + column, columns);
  }
#pragma GCC unroll 6
  for (int row = 0; row < rows; ++row) {
    multiply_vector<floats>(matrix, half + row * columns, 1, out + row * rows, 1);
  }
}

template <int floats>
STANLEY_INLINE const Lanes<floats>& at(const float* address) {
  return *reinterpret_cast<const Lanes<floats>*>(address);
}
template <int floats>
STANLEY_INLINE Lanes<floats>& at(float* address) {
  return *reinterpret_cast<Lanes<floats>*>(address);
}

template <int m, int r, int floats>
STANLEY_INLINE void input_pass(Floats<floats>, const WinogradTiles& tiles, const float* image,
                               std::int64_t stride, float* transformed) {
  constexpr int n = m + r - 1, step = r == 2 ? 2 : 1, phases = step * step;
  const ImageLayout& layout = tiles.input;
  const std::int64_t channels = layout.channels;
  for (std::int64_t tile = 0; tile < tiles.count(); ++tile) {
    const std::int64_t y = tile / tiles.width * m, x = tile % tiles.width * m;
    for (std::int64_t phase = 0; phase < phases; ++phase) {
      const std::int64_t row = step * y + phase / step, column = step * x + phase % step;
      const float* source = image + (row * layout.columns + column) * channels;
      float* target = transformed + (tile * phases + phase) * channels;
      for (std::int64_t channel = 0; channel < channels; channel += floats) {
        Lanes<floats> in[n * n], out[n * n];
#pragma GCC unroll 36
        for (int i = 0; i < n * n; ++i) {
          in[i] = at<floats>(source + step * (i / n * layout.columns + i % n) * channels + channel);
        }
        multiply_both_sides<floats>(Transforms<m, r>::input, in, out);
#pragma GCC unroll 36
        for (int i = 0; i < n * n; ++i) at<floats>(target + i * stride + channel) = out[i];
      }
    }
  }
}

template <int m, int r, int floats>
STANLEY_INLINE void input_adjoint_pass(Floats<floats>, const WinogradTiles& tiles,
                                       const float* transformed, std::int64_t stride,
                                       float* image) {
  constexpr int n = m + r - 1, step = r == 2 ? 2 : 1, phases = step * step;
  const ImageLayout& layout = tiles.input;
  const std::int64_t channels = layout.channels;
  std::fill_n(image, layout.size(), 0.0F);
  for (std::int64_t tile = 0; tile < tiles.count(); ++tile) {
    const std::int64_t y = tile / tiles.width * m, x = tile % tiles.width * m;
    for (std::int64_t phase = 0; phase < phases; ++phase) {
      const std::int64_t row = step * y + phase / step, column = step * x + phase % step;
      const float* source = transformed + (tile * phases + phase) * channels;
      float* target = image + (row * layout.columns + column) * channels;
      for (std::int64_t channel = 0; channel < channels; channel += floats) {
        Lanes<floats> in[n * n], out[n * n];
#pragma GCC unroll 36
        for (int i = 0; i < n * n; ++i) in[i] = at<floats>(source + i * stride + channel);
        constexpr auto adjoint = transposed(Transforms<m, r>::input);
        multiply_both_sides<floats>(adjoint, in, out);
        // Neighbouring tiles share a row or a column of their windows.
#pragma GCC unroll 36
        for (int i = 0; i < n * n; ++i) {
          at<floats>(target + step * (i / n * layout.columns + i % n) * channels + channel) +=
              out[i];
        }
      }
    }
  }
}

template <int m, int r, int floats>
STANLEY_INLINE void output_pass(Floats<floats>, const WinogradTiles& tiles, const float* products,
                                std::int64_t stride, const float* bias, float* image) {
  constexpr int n = m + r - 1;
  const ImageLayout& layout = tiles.output;
  const std::int64_t channels = layout.channels;
  for (std::int64_t tile = 0; tile < tiles.count(); ++tile) {
    const std::int64_t y = tile / tiles.width * m, x = tile % tiles.width * m;
    const std::int64_t rows = std::min<std::int64_t>(m, layout.height - y);
    const std::int64_t columns = std::min<std::int64_t>(m, layout.width - x);
    float* target = image + layout.row(y) + x * channels;
    for (std::int64_t channel = 0; channel < channels; channel += floats) {
      Lanes<floats> in[n * n], out[m * m];
#pragma GCC unroll 36
      for (int i = 0; i < n * n; ++i) {
        in[i] = at<floats>(products + i * stride + tile * channels + channel);
      }
      multiply_both_sides<floats>(Transforms<m, r>::output, in, out);
      for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t column = 0; column < columns; ++column) {
          at<floats>(target + (row * layout.columns + column) * channels + channel) =
              out[row * m + column] + at<floats>(bias + channel);
        }
      }
    }
  }
}

template <int m, int r, int floats>
STANLEY_INLINE void output_adjoint_pass(Floats<floats>, const WinogradTiles& tiles,
                                        const float* image, std::int64_t stride, float* products) {
  constexpr int n = m + r - 1;
  const ImageLayout& layout = tiles.output;
  const std::int64_t channels = layout.channels;
  for (std::int64_t tile = 0; tile < tiles.count(); ++tile) {
    const std::int64_t y = tile / tiles.width * m, x = tile % tiles.width * m;
    const float* source = image + layout.row(y) + x * channels;
    for (std::int64_t channel = 0; channel < channels; channel += floats) {
      Lanes<floats> in[m * m], out[n * n];
#pragma GCC unroll 16
      for (int i = 0; i < m * m; ++i) {
        in[i] = at<floats>(source + (i / m * layout.columns + i % m) * channels + channel);
      }
      constexpr auto adjoint = transposed(Transforms<m, r>::output);
      multiply_both_sides<floats>(adjoint, in, out);
#pragma GCC unroll 36
      for (int i = 0; i < n * n; ++i) {
        at<floats>(products + i * stride + tile * channels + channel) = out[i];
      }
    }
  }
}

template <int m, int r>
std::vector<float> filter_pass(const WinogradTiles& tiles, std::int64_t out, std::int64_t in,
                               const float* weight) {
  constexpr int n = m + r - 1, step = r == 2 ? 2 : 1, phases = step * step, kernel = r * step;
  const auto& g = Transforms<m, r>::filter;
  const std::int64_t out_channels = tiles.output.channels, in_channels = tiles.input.channels;
  std::vector<float> result(static_cast<std::size_t>(n * n * phases * in_channels * out_channels));
  for (std::int64_t phase = 0; phase < phases; ++phase) {
    for (std::int64_t i = 0; i < in; ++i) {
      for (std::int64_t o = 0; o < out; ++o) {
        // The taps of this phase.
        const float* taps =
            weight + (o * in + i) * kernel * kernel + phase / step * kernel + phase % step;
        double half[n][r] = {};  // G g
        for (int point = 0; point < n * r * r; ++point) {
          const int row = point / (r * r), tap = point / r % r, column = point % r;
          half[row][column] +=
              g[row][tap] * static_cast<double>(taps[step * (tap * kernel + column)]);
        }
        for (int point = 0; point < n * n; ++point) {
          double sum = 0;
          for (int tap = 0; tap < r; ++tap) sum += half[point / n][tap] * g[point % n][tap];
          result[static_cast<std::size_t>(
              ((point * phases + phase) * in_channels + i) * out_channels + o)] =
              static_cast<float>(sum);
        }
      }
    }
  }
  return result;
}

template <int m, int r>
void filter_adjoint_pass(const WinogradTiles& tiles, std::int64_t out, std::int64_t in,
                         const float* transformed, float* weight) {
  constexpr int n = m + r - 1, step = r == 2 ? 2 : 1, phases = step * step, kernel = r * step;
  const auto& g = Transforms<m, r>::filter;
  const std::int64_t out_channels = tiles.output.channels, in_channels = tiles.input.channels;
  std::vector<double> sums(static_cast<std::size_t>(r * r * out));
  for (std::int64_t phase = 0; phase < phases; ++phase) {
    for (std::int64_t i = 0; i < in; ++i) {
      std::fill(sums.begin(), sums.end(), 0.0);
      for (std::int64_t point = 0; point < n * n; ++point) {
        const float* row =
            transformed + ((point * phases + phase) * in_channels + i) * out_channels;
        for (std::int64_t tap = 0; tap < r * r; ++tap) {
          const double factor = g[point / n][tap / r] * g[point % n][tap % r];
          if (factor == 0) continue;
          double* sum = sums.data() + tap * out;
          for (std::int64_t o = 0; o < out; ++o) sum[o] += factor * static_cast<double>(row[o]);
        }
      }
      for (std::int64_t tap = 0; tap < r * r; ++tap) {
        const std::int64_t y = phase / step + step * (tap / r), x = phase % step + step * (tap % r);
        for (std::int64_t o = 0; o < out; ++o) {
          weight[((o * in + i) * kernel + y) * kernel + x] =
              static_cast<float>(sums[static_cast<std::size_t>(tap * out + o)]);
        }
      }
    }
  }
}

}  // namespace

WinogradTiles winograd_tiles(std::int64_t stride, std::int64_t out_height, std::int64_t out_width) {
  // Large tiles save arithmetic; small ones fit small images, and make matrix products of more rows
  // and fewer weights of them.
  const std::int64_t side = std::min(out_height, out_width) >= 8 ? 4 : 2;
  return {.stride = stride,
          .side = side,
          .height = (out_height + side - 1) / side,
          .width = (out_width + side - 1) / side,
          .input = {},
          .output = {}};
}

std::int64_t winograd_input_extent(std::int64_t stride, std::int64_t side, std::int64_t tiles) {
  return stride * side * tiles + 2;
}
std::int64_t winograd_output_extent(std::int64_t side, std::int64_t tiles) {
  return 1 + side * tiles;
}

std::int64_t winograd_stride(std::int64_t rows, std::int64_t columns) {
  return rows * columns + lanes;
}

// The one of a template's four forms that fits the tiles.
#define STANLEY_WINOGRAD_PASS(pass, ...)                                                   \
  (tiles.stride == 1 ? tiles.side == 2 ? pass<2, 3>(__VA_ARGS__) : pass<4, 3>(__VA_ARGS__) \
   : tiles.side == 2 ? pass<2, 2>(__VA_ARGS__)                                             \
                     : pass<4, 2>(__VA_ARGS__))

std::vector<float> winograd_filter(const WinogradTiles& tiles, std::int64_t out, std::int64_t in,
                                   const float* weight) {
  return STANLEY_WINOGRAD_PASS(filter_pass, tiles, out, in, weight);
}

void winograd_filter_adjoint(const WinogradTiles& tiles, std::int64_t out, std::int64_t in,
                             const float* transformed, float* weight) {
  STANLEY_WINOGRAD_PASS(filter_adjoint_pass, tiles, out, in, transformed, weight);
}

void winograd_input(const WinogradTiles& tiles, const float* image, std::int64_t stride,
                    float* transformed) {
  with_vectors([&](auto floats) STANLEY_ALWAYS_INLINE {
    STANLEY_WINOGRAD_PASS(input_pass, floats, tiles, image, stride, transformed);
  });
}

void winograd_output(const WinogradTiles& tiles, const float* products, std::int64_t stride,
                     const float* bias, float* image) {
  with_vectors([&](auto floats) STANLEY_ALWAYS_INLINE {
    STANLEY_WINOGRAD_PASS(output_pass, floats, tiles, products, stride, bias, image);
  });
}

void winograd_output_adjoint(const WinogradTiles& tiles, const float* image, std::int64_t stride,
                             float* products) {
  with_vectors([&](auto floats) STANLEY_ALWAYS_INLINE {
    STANLEY_WINOGRAD_PASS(output_adjoint_pass, floats, tiles, image, stride, products);
  });
}

void winograd_input_adjoint(const WinogradTiles& tiles, const float* transformed,
                            std::int64_t stride, float* image) {
  with_vectors([&](auto floats) STANLEY_ALWAYS_INLINE {
    STANLEY_WINOGRAD_PASS(input_adjoint_pass, floats, tiles, transformed, stride, image);
  });
}

}  // namespace stanley
