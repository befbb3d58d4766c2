#include "kernels/first_convolution.hpp"

#include "kernels/vectors.hpp"

namespace stanley::STANLEY_SET {
namespace {

/// `group` pixels of a row from x on, of a vector of filters.
template <std::int64_t group>
STANLEY_INLINE void convolve_pixels(const ImageLayout& layout, std::int64_t channels,
                                    const float* state, const float* weight, const float* bias,
                                    float* out) {
  const std::int64_t columns = layout.width + 2, plane = (layout.height + 2) * columns;
  Lanes sums[group];
#pragma GCC unroll 8
  for (std::int64_t g = 0; g < group; ++g) sums[g] = *at(bias);
  for (std::int64_t channel = 0; channel < channels; ++channel, state += plane) {
#pragma GCC unroll 9
    for (std::int64_t tap = 0; tap < 9; ++tap, weight += layout.channels) {
      const Lanes factors = *at(weight);
#pragma GCC unroll 8
      for (std::int64_t g = 0; g < group; ++g) {
        sums[g] += state[tap / 3 * columns + tap % 3 + g] * factors;
      }
    }
  }
#pragma GCC unroll 8
  for (std::int64_t g = 0; g < group; ++g) *at(out + g * layout.channels) = sums[g];
}

}  // namespace

void convolve_first(const ImageLayout& layout, std::int64_t channels, const float* state,
                    const float* weight, const float* bias, float* out) {
  constexpr std::int64_t group = 8;
  for (std::int64_t y = 0; y < layout.height; ++y) {
    const float* in = state + y * (layout.width + 2);
    float* row = out + layout.row(y);
    for (std::int64_t filter = 0; filter < layout.channels; filter += floats) {
      std::int64_t x = 0;
      for (; x + group <= layout.width; x += group) {
        convolve_pixels<group>(layout, channels, in + x, weight + filter, bias + filter,
                               row + x * layout.channels + filter);
      }
      for (; x < layout.width; ++x) {
        convolve_pixels<1>(layout, channels, in + x, weight + filter, bias + filter,
                           row + x * layout.channels + filter);
      }
    }
  }
}

void surround_row(std::int64_t width, std::int64_t channels, const float* row, float* out) {
  const std::int64_t columns = whole_lanes(width) + 2;
  for (std::int64_t channel = 0; channel < channels; channel += floats) {
    float* target = out + channel / lanes * lanes * columns + channel % lanes;
    for (std::int64_t x = 0; x < width; ++x) {
      const Lanes value = *at(row + x * channels + channel);
      *at(target + (x + 1) * lanes) = value;
    }
  }
}

namespace {

/// Lane i of the result is the sum of `a`'s lanes i and i + distance where bit `distance` of i is
/// 0, and of b's lanes i - distance and i where it is 1.
template <int distance>
STANLEY_INLINE void fold(const Lanes& a, const Lanes& b, Lanes& sum) {
  Lanes first, second;
  shuffle<UpperSquares<floats, distance>, floats>(a, b, first);
  shuffle<LowerSquares<floats, distance>, floats>(a, b, second);
  sum = first + second;
}

/// The sums of as many vectors as they have lanes, one in each lane of the first: folds those of
/// pixels `distance` apart into one another, and half as far apart.
template <int distance = floats / 2>
STANLEY_INLINE void fold_all(Lanes* sums) {
#pragma GCC unroll 8
  for (int i = 0; i < distance; ++i) {
    fold<distance>(sums[i], sums[i + distance], sums[i]);
  }
  if constexpr (distance > 1) fold_all<distance / 2>(sums);
}

}  // namespace

void first_gradient_row(std::int64_t width, std::int64_t channels, const float* const* rows,
                        const float* weight, float* out) {
  const std::int64_t columns = whole_lanes(width) + 2;
  for (std::int64_t x = 0; x < width; x += floats) {
    Lanes sums[floats] = {};
    for (std::int64_t filter = 0; filter < channels; filter += floats) {
      const std::int64_t place = filter / lanes * lanes * columns + filter % lanes;
#pragma GCC unroll 9
      for (std::int64_t tap = 0; tap < 9; ++tap) {
        const Lanes factors = *at(weight + tap * channels + filter);
        const float* pixel = rows[2 - tap / 3] + place + (x + 2 - tap % 3) * lanes;
#pragma GCC unroll 16
        for (std::int64_t i = 0; i < floats; ++i) {
          const Lanes value = *at(pixel + i * lanes);
          sums[i] += value * factors;
        }
      }
    }
    fold_all(sums);
    *at(out + x) = sums[0];
  }
}

void add_first_weights(const ImageLayout& layout, std::int64_t channels, const float* state,
                       const float* image, float* sum) {
  const std::int64_t columns = layout.width + 2, plane = (layout.height + 2) * columns;
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    for (std::int64_t filter = 0; filter < layout.channels; filter += floats) {
      float* target = sum + channel * 9 * layout.channels + filter;
      Lanes sums[9];
      for (int tap = 0; tap < 9; ++tap) sums[tap] = *at(target + tap * layout.channels);
      for (std::int64_t y = 0; y < layout.height; ++y) {
        const float* in = state + channel * plane + y * columns;
        const float* gradient = image + layout.row(y) + filter;
        for (std::int64_t x = 0; x < layout.width; ++x) {
          const Lanes pixel = *at(gradient + x * layout.channels);
#pragma GCC unroll 9
          for (int tap = 0; tap < 9; ++tap) {
            sums[tap] += in[tap / 3 * columns + x + tap % 3] * pixel;
          }
        }
      }
      for (int tap = 0; tap < 9; ++tap) *at(target + tap * layout.channels) = sums[tap];
    }
  }
}

}  // namespace stanley::STANLEY_SET
