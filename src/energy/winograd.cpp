#include "energy/winograd.hpp"

#include <algorithm>

#include "energy/vectorized.hpp"
#include "energy/winograd_matrices.hpp"

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

/// A number that the compiler knows nothing of: it would compute the addresses of all elements of a
/// tile before the loop over channels, and keep them in memory.
STANLEY_INLINE std::int64_t opaque(std::int64_t number) {
  asm("" : "+r"(number));
  return number;
}

template <int m, int r, int floats>
STANLEY_INLINE void input_pass(Floats<floats>, const WinogradTiles& tiles, const float* image,
                               std::int64_t stride, float* transformed) {
  constexpr int n = m + r - 1, step = r == 2 ? 2 : 1, phases = step * step;
  const std::int64_t channels = tiles.input.channels, row_size = tiles.input.columns * channels;
  for (std::int64_t tile = 0; tile < tiles.count(); ++tile) {
    const std::int64_t y = tile / tiles.width * m, x = tile % tiles.width * m;
    for (std::int64_t phase = 0; phase < phases; ++phase) {
      const float* source =
          image + (step * y + phase / step) * row_size + (step * x + phase % step) * channels;
      float* target = transformed + (tile * phases + phase) * channels;
      for (std::int64_t channel = 0; channel < channels; channel += floats) {
        const std::int64_t down = opaque(step * row_size), right = opaque(step * channels);
        const std::int64_t point = opaque(stride), row = opaque(n * stride);
        multiply_both_sides<floats>(
            WinogradMatrices<m, r>::input,
            [&](int i, int j, Lanes<floats>& value) STANLEY_ALWAYS_INLINE {
              value = at<floats>(source + channel + i * down + j * right);
            },
            [&](int i, int j, const Lanes<floats>& value) STANLEY_ALWAYS_INLINE {
              at<floats>(target + channel + i * row + j * point) = value;
            });
      }
    }
  }
}

template <int m, int r, int floats>
STANLEY_INLINE void input_adjoint_pass(Floats<floats>, const WinogradTiles& tiles,
                                       const float* transformed, std::int64_t stride,
                                       const float* factor, float* image) {
  constexpr int n = m + r - 1, step = r == 2 ? 2 : 1, phases = step * step;
  const std::int64_t channels = tiles.input.channels, row_size = tiles.input.columns * channels;
  for (std::int64_t tile = 0; tile < tiles.count(); ++tile) {
    const std::int64_t y = tile / tiles.width, x = tile % tiles.width;
    // Neighbouring tiles share rows and columns: the later one adds to them.
    const bool top = y == 0, left = x == 0;
    for (std::int64_t phase = 0; phase < phases; ++phase) {
      const float* source = transformed + (tile * phases + phase) * channels;
      const std::int64_t origin =
          (step * m * y + phase / step) * row_size + (step * m * x + phase % step) * channels;
      for (std::int64_t channel = 0; channel < channels; channel += floats) {
        const std::int64_t down = opaque(step * row_size), right = opaque(step * channels);
        const std::int64_t point = opaque(stride), row = opaque(n * stride);
        multiply_both_sides<floats>(
            transposed(WinogradMatrices<m, r>::input),
            [&](int i, int j, Lanes<floats>& value) STANLEY_ALWAYS_INLINE {
              value = at<floats>(source + channel + i * row + j * point);
            },
            [&](int i, int j, const Lanes<floats>& value) STANLEY_ALWAYS_INLINE {
              const std::int64_t pixel = origin + channel + i * down + j * right;
              const bool begun = (i < n - m && !top) || (j < n - m && !left);
              Lanes<floats> sum = value * at<floats>(factor + pixel);
              if (begun) sum += at<floats>(image + pixel);
              at<floats>(image + pixel) = sum;
            });
      }
    }
  }
}

/// Zeros around the picture.
void clear_surroundings(const ImageLayout& layout, float* image) {
  std::int64_t from = 0;
  for (std::int64_t y = 0; y < layout.height; ++y) {
    std::fill(image + from, image + layout.row(y), 0.0F);
    from = layout.row(y) + layout.row_size();
  }
  std::fill(image + from, image + layout.size(), 0.0F);
}

template <int m, int r, int floats>
STANLEY_INLINE void output_pass(Floats<floats>, const WinogradTiles& tiles, const float* products,
                                std::int64_t stride, const float* bias, float* image) {
  constexpr int n = m + r - 1;
  const ImageLayout& layout = tiles.output;
  const std::int64_t channels = layout.channels, row_size = layout.columns * channels;
  for (std::int64_t tile = 0; tile < tiles.count(); ++tile) {
    const std::int64_t y = tile / tiles.width * m, x = tile % tiles.width * m;
    const std::int64_t rows = layout.height - y, columns = layout.width - x;
    const bool whole = rows >= m && columns >= m;
    const float* source = products + tile * channels;
    float* target = image + layout.row(y) + x * channels;
    for (std::int64_t channel = 0; channel < channels; channel += floats) {
      const std::int64_t down = opaque(row_size), right = opaque(channels);
      const std::int64_t point = opaque(stride), row = opaque(n * stride);
      const Lanes<floats> constant = at<floats>(bias + channel);
      multiply_both_sides<floats>(
          WinogradMatrices<m, r>::output,
          [&](int i, int j, Lanes<floats>& value)
              STANLEY_ALWAYS_INLINE { value = at<floats>(source + channel + i * row + j * point); },
          [&](int i, int j, const Lanes<floats>& value) STANLEY_ALWAYS_INLINE {
            if (!whole && (i >= rows || j >= columns)) return;
            at<floats>(target + channel + i * down + j * right) = value + constant;
          });
    }
  }
}

template <int m, int r, int floats>
STANLEY_INLINE void output_adjoint_pass(Floats<floats>, const WinogradTiles& tiles,
                                        const float* image, std::int64_t stride, float* products) {
  constexpr int n = m + r - 1;
  const ImageLayout& layout = tiles.output;
  const std::int64_t channels = layout.channels, row_size = layout.columns * channels;
  for (std::int64_t tile = 0; tile < tiles.count(); ++tile) {
    const std::int64_t y = tile / tiles.width * m, x = tile % tiles.width * m;
    const float* source = image + layout.row(y) + x * channels;
    float* target = products + tile * channels;
    for (std::int64_t channel = 0; channel < channels; channel += floats) {
      const std::int64_t down = opaque(row_size), right = opaque(channels);
      const std::int64_t point = opaque(stride), row = opaque(n * stride);
      multiply_both_sides<floats>(
          transposed(WinogradMatrices<m, r>::output),
          [&](int i, int j, Lanes<floats>& value) STANLEY_ALWAYS_INLINE {
            value = at<floats>(source + channel + i * down + j * right);
          },
          [&](int i, int j, const Lanes<floats>& value) STANLEY_ALWAYS_INLINE {
            at<floats>(target + channel + i * row + j * point) = value;
          });
    }
  }
}

template <int m, int r>
std::vector<float> filter_pass(const WinogradTiles& tiles, std::int64_t out, std::int64_t in,
                               const float* weight) {
  constexpr int n = m + r - 1, step = r == 2 ? 2 : 1, phases = step * step, kernel = r * step;
  const auto& g = WinogradMatrices<m, r>::filter;
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
  const auto& g = WinogradMatrices<m, r>::filter;
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
  const auto of_side = [&](std::int64_t side) {
    return WinogradTiles{.stride = stride,
                         .side = side,
                         .height = (out_height + side - 1) / side,
                         .width = (out_width + side - 1) / side,
                         .input = {},
                         .output = {}};
  };
  // Large tiles save products where the image fills them.
  const WinogradTiles small = of_side(2), large = of_side(4);
  const bool saves = large.count() * large.points() < small.count() * small.points();
  return saves ? large : small;
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
                            std::int64_t stride, const float* factor, float* image) {
  with_vectors([&](auto floats) STANLEY_ALWAYS_INLINE {
    STANLEY_WINOGRAD_PASS(input_adjoint_pass, floats, tiles, transformed, stride, factor, image);
  });
  clear_surroundings(tiles.input, image);
}

}  // namespace stanley
