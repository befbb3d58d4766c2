#include "kernels/winograd.hpp"

#include <algorithm>

#include "kernels/matrix_product.hpp"
#include "kernels/vectors.hpp"
#include "kernels/vectors/winograd_matrices.hpp"

namespace stanley::STANLEY_SET {
namespace {

/// A number that the compiler knows nothing of: it would compute the addresses of all elements of a
/// tile before the loop over channels, and keep them in memory.
STANLEY_INLINE std::int64_t opaque(std::int64_t number) {
  asm("" : "+r"(number));
  return number;
}

template <int m, int r>
STANLEY_INLINE void input_pass(const WinogradTiles& tiles, const float* image, std::int64_t stride,
                               float* transformed) {
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
        multiply_both_sides(
            WinogradMatrices<m, r>::input,
            [&](int i, int j, Lanes& value) {
              value = *at(source + channel + i * down + j * right);
            },
            [&](int i, int j, const Lanes& value) {
              *at(target + channel + i * row + j * point) = value;
            });
      }
    }
  }
}

template <int m, int r>
STANLEY_INLINE void input_adjoint_pass(const WinogradTiles& tiles, const float* transformed,
                                       std::int64_t stride, const float* factor, float* image) {
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
        multiply_both_sides(
            transposed(WinogradMatrices<m, r>::input),
            [&](int i, int j, Lanes& value) {
              value = *at(source + channel + i * row + j * point);
            },
            [&](int i, int j, const Lanes& value) {
              const std::int64_t pixel = origin + channel + i * down + j * right;
              const bool begun = (i < n - m && !top) || (j < n - m && !left);
              Lanes sum = value * *at(factor + pixel);
              if (begun) sum += *at(image + pixel);
              *at(image + pixel) = sum;
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

template <int m, int r>
STANLEY_INLINE void output_pass(const WinogradTiles& tiles, const float* products,
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
      const Lanes constant = *at(bias + channel);
      multiply_both_sides(
          WinogradMatrices<m, r>::output,
          [&](int i, int j, Lanes& value) { value = *at(source + channel + i * row + j * point); },
          [&](int i, int j, const Lanes& value) {
            if (!whole && (i >= rows || j >= columns)) return;
            *at(target + channel + i * down + j * right) = value + constant;
          });
    }
  }
}

template <int m, int r>
STANLEY_INLINE void output_adjoint_pass(const WinogradTiles& tiles, const float* image,
                                        std::int64_t stride, float* products) {
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
      multiply_both_sides(
          transposed(WinogradMatrices<m, r>::output),
          [&](int i, int j, Lanes& value) { value = *at(source + channel + i * down + j * right); },
          [&](int i, int j, const Lanes& value) {
            *at(target + channel + i * row + j * point) = value;
          });
    }
  }
}

/// Filters whose transformations go side by side.
constexpr std::int64_t filters_at_once = 64;
template <int rows>
using FilterRows = double[rows][filters_at_once];

/// out[i] = Σ over k of factor(i, k)·in[k], row by row.
template <int rows, int terms, typename Factor>
STANLEY_INLINE void combine_rows(const Factor& factor, const FilterRows<terms>& in,
                                 FilterRows<rows>& out) {
  for (int i = 0; i < rows; ++i) {
    std::fill_n(out[i], filters_at_once, 0.0);
    for (int k = 0; k < terms; ++k) {
      const double f = factor(i, k);
      if (f == 0) continue;
      for (std::int64_t o = 0; o < filters_at_once; ++o) out[i][o] += f * in[k][o];
    }
  }
}

/// The taps of one phase of `count` filters for one channel, [tap, filter], from where the first
/// filter has them.
template <int m, int r>
struct FilterTaps {
  static constexpr int step = r == 2 ? 2 : 1, kernel = r * step;

  static std::int64_t place(std::int64_t phase, std::int64_t tap) {
    return (phase / step + step * (tap / r)) * kernel + phase % step + step * (tap % r);
  }
  static STANLEY_INLINE void load(const float* weight, std::int64_t filter_size, std::int64_t phase,
                                  std::int64_t count, FilterRows<r * r>& taps) {
    for (std::int64_t tap = 0; tap < r * r; ++tap) {
      const float* from = weight + place(phase, tap);
      for (std::int64_t o = 0; o < count; ++o) {
        taps[tap][o] = static_cast<double>(from[o * filter_size]);
      }
    }
  }
  static STANLEY_INLINE void store(const FilterRows<r * r>& taps, std::int64_t filter_size,
                                   std::int64_t phase, std::int64_t count, float* weight) {
    for (std::int64_t tap = 0; tap < r * r; ++tap) {
      float* to = weight + place(phase, tap);
      for (std::int64_t o = 0; o < count; ++o) {
        to[o * filter_size] = static_cast<float>(taps[tap][o]);
      }
    }
  }
};

/// Calls visit(offset of the weights, phase, offset of the transformed ones, number of filters) for
/// some filters of one channel and phase at a time.
template <int r, typename Visit>
STANLEY_INLINE void for_each_filter(const WinogradTiles& tiles, std::int64_t out, std::int64_t in,
                                    const Visit& visit) {
  const std::int64_t taps = r * r * tiles.phases();
  for (std::int64_t i = 0; i < in; ++i) {
    for (std::int64_t o = 0; o < out; o += filters_at_once) {
      for (std::int64_t phase = 0; phase < tiles.phases(); ++phase) {
        visit((o * in + i) * taps, phase,
              o * tiles.depth() + (phase * tiles.input.channels + i) * panel_columns,
              std::min(filters_at_once, out - o));
      }
    }
  }
}

/// Calls visit(filter, offset) for `count` filters and where their panels have them.
template <typename Visit>
STANLEY_INLINE void for_each_column(const WinogradTiles& tiles, std::int64_t count,
                                    const Visit& visit) {
  for (std::int64_t o = 0; o < count; o += panel_columns) {
    const std::int64_t end = std::min(panel_columns, count - o);
    for (std::int64_t i = 0; i < end; ++i) visit(o + i, o * tiles.depth() + i);
  }
}

template <int m, int r>
STANLEY_INLINE void filter_pass(const WinogradTiles& tiles, std::int64_t out, std::int64_t in,
                                const float* weight, float* transformed) {
  constexpr int n = m + r - 1;
  const auto& g = WinogradMatrices<m, r>::filter;
  for_each_filter<r>(
      tiles, out, in,
      [&](std::int64_t from, std::int64_t phase, std::int64_t to, std::int64_t count) {
        FilterRows<r* r> taps = {};
        FilterRows<n * r> half;  // G g
        FilterRows<n * n> whole;
        FilterTaps<m, r>::load(weight + from, in * r * r * tiles.phases(), phase, count, taps);
        combine_rows<n * r, r * r>(
            [&](int i, int k) { return i % r == k % r ? g[i / r][k / r] : 0; }, taps, half);
        combine_rows<n * n, n * r>(
            [&](int i, int k) { return i / n == k / r ? g[i % n][k % r] : 0; }, half, whole);
        for (std::int64_t point = 0; point < n * n; ++point) {
          float* row = transformed + point * tiles.filter_size() + to;
          for_each_column(tiles, count, [&](std::int64_t o, std::int64_t place) {
            row[place] = static_cast<float>(whole[point][o]);
          });
        }
      });
}

template <int m, int r>
STANLEY_INLINE void filter_adjoint_pass(const WinogradTiles& tiles, std::int64_t out,
                                        std::int64_t in, const float* transformed, float* weight) {
  constexpr int n = m + r - 1;
  const auto& g = WinogradMatrices<m, r>::filter;
  for_each_filter<r>(
      tiles, out, in,
      [&](std::int64_t to, std::int64_t phase, std::int64_t from, std::int64_t count) {
        FilterRows<n* n> whole = {};
        FilterRows<n * r> half;
        FilterRows<r * r> taps;
        for (std::int64_t point = 0; point < n * n; ++point) {
          const float* row = transformed + point * tiles.filter_size() + from;
          for_each_column(tiles, count, [&](std::int64_t o, std::int64_t place) {
            whole[point][o] = static_cast<double>(row[place]);
          });
        }
        combine_rows<n * r, n * n>(
            [&](int i, int k) { return i / r == k / n ? g[k % n][i % r] : 0; }, whole, half);
        combine_rows<r * r, n * r>(
            [&](int i, int k) { return i % r == k % r ? g[k / r][i / r] : 0; }, half, taps);
        FilterTaps<m, r>::store(taps, in * r * r * tiles.phases(), phase, count, weight + to);
      });
}

}  // namespace

// The one of a template's forms that fits the tiles.
#define STANLEY_WINOGRAD_PASS(pass, ...)                                                   \
  (tiles.stride == 1 ? tiles.side == 2 ? pass<2, 3>(__VA_ARGS__) : pass<4, 3>(__VA_ARGS__) \
   : tiles.side == 2 ? pass<2, 2>(__VA_ARGS__)                                             \
   : tiles.side == 3 ? pass<3, 2>(__VA_ARGS__)                                             \
                     : pass<4, 2>(__VA_ARGS__))

void winograd_filter(const WinogradTiles& tiles, std::int64_t out, std::int64_t in,
                     const float* weight, float* transformed) {
  STANLEY_WINOGRAD_PASS(filter_pass, tiles, out, in, weight, transformed);
}

void winograd_filter_adjoint(const WinogradTiles& tiles, std::int64_t out, std::int64_t in,
                             const float* transformed, float* weight) {
  STANLEY_WINOGRAD_PASS(filter_adjoint_pass, tiles, out, in, transformed, weight);
}

void winograd_input(const WinogradTiles& tiles, const float* image, std::int64_t stride,
                    float* transformed) {
  STANLEY_WINOGRAD_PASS(input_pass, tiles, image, stride, transformed);
}

void winograd_output(const WinogradTiles& tiles, const float* products, std::int64_t stride,
                     const float* bias, float* image) {
  STANLEY_WINOGRAD_PASS(output_pass, tiles, products, stride, bias, image);
}

void winograd_output_adjoint(const WinogradTiles& tiles, const float* image, std::int64_t stride,
                             float* products) {
  STANLEY_WINOGRAD_PASS(output_adjoint_pass, tiles, image, stride, products);
}

void winograd_input_adjoint(const WinogradTiles& tiles, const float* transformed,
                            std::int64_t stride, const float* factor, float* image) {
  STANLEY_WINOGRAD_PASS(input_adjoint_pass, tiles, transformed, stride, factor, image);
  clear_surroundings(tiles.input, image);
}

}  // namespace stanley::STANLEY_SET
