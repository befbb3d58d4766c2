#include <algorithm>

#include "energy/layer_pass.hpp"
#include "energy/loop_threads.hpp"
#include "energy/vectorized.hpp"

namespace stanley {
namespace {

/// Elements of a block of pixels, which stays in the innermost cache between its two steps.
constexpr std::int64_t block_size = 4096;
/// Elements from which on threads pay.
constexpr std::int64_t worth_threads = 16384;

template <typename Element>
STANLEY_INLINE void add_bias_pass(std::int64_t pixels, std::int64_t channels, const Element* z,
                                  const float* bias, const Element* skip, Element* out) {
  for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
    const std::int64_t first = pixel * channels;
    if (skip == nullptr) {
#pragma GCC ivdep
      for (std::int64_t i = 0; i < channels; ++i) {
        out[first + i] = from_float<Element>(to_float(z[first + i]) + bias[i]);
      }
    } else {
#pragma GCC ivdep
      for (std::int64_t i = 0; i < channels; ++i) {
        out[first + i] =
            from_float<Element>(to_float(z[first + i]) + bias[i] + to_float(skip[first + i]));
      }
    }
  }
}

template <typename Element>
STANLEY_INLINE void multiply_add_pass(std::int64_t count, const Element* a, const Element* b,
                                      float factor, const Element* c, Element* out) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    out[i] = from_float<Element>(to_float(a[i]) * to_float(b[i]) + factor * to_float(c[i]));
  }
}

STANLEY_VECTORIZED void add_bias(std::int64_t pixels, std::int64_t channels, const float* z,
                                 const float* bias, const float* skip, float* out) {
  add_bias_pass(pixels, channels, z, bias, skip, out);
}
STANLEY_VECTORIZED void add_bias(std::int64_t pixels, std::int64_t channels, const Bfloat16* z,
                                 const float* bias, const Bfloat16* skip, Bfloat16* out) {
  add_bias_pass(pixels, channels, z, bias, skip, out);
}
STANLEY_VECTORIZED void multiply_add(std::int64_t count, const float* a, const float* b,
                                     float factor, const float* c, float* out) {
  multiply_add_pass(count, a, b, factor, c, out);
}
STANLEY_VECTORIZED void multiply_add(std::int64_t count, const Bfloat16* a, const Bfloat16* b,
                                     float factor, const Bfloat16* c, Bfloat16* out) {
  multiply_add_pass(count, a, b, factor, c, out);
}

template <typename Element>
void activate_pixels(const ActivationPass<Element>& pass, std::int64_t first, std::int64_t pixels) {
  const std::int64_t begin = first * pass.channels, count = pixels * pass.channels;
  Element* value = pass.value + begin;
  Element* hidden = pass.hidden == nullptr ? value : pass.hidden + begin;
  add_bias(pixels, pass.channels, pass.z + begin, pass.bias,
           pass.skip == nullptr ? nullptr : pass.skip + begin, hidden);
  if (hidden != value) std::copy_n(hidden, count, value);
  activate_with_derivative(pass.activation, pass.slope, count, value, pass.derivative + begin);
}

template <typename Element>
void run(const ActivationPass<Element>& pass) {
  const std::int64_t block = std::max<std::int64_t>(1, block_size / pass.channels);
#pragma omp parallel for num_threads(loop_threads()) \
    schedule(static) if (pass.pixels * pass.channels > worth_threads)
  for (std::int64_t first = 0; first < pass.pixels; first += block) {
    activate_pixels(pass, first, std::min(block, pass.pixels - first));
  }
}

/// One row of pixels of one image.
template <typename Element>
void multiply_row(const DerivativePass<Element>& pass, std::int64_t row) {
  const std::int64_t size = pass.width * pass.channels, begin = row * size;
  const Element *gradient = pass.gradient + begin, *derivative = pass.derivative + begin;
  Element* out = pass.out + begin;
  const std::int64_t image = row / pass.height, y = row % pass.height / 2;
  if (pass.kind == Skip::same) {
    return multiply_add(size, gradient, derivative, 1.0F, pass.skip + begin, out);
  }
  // The last row and the last column of an odd size are in no square.
  if (pass.kind == Skip::none || y >= pass.height / 2) {
    return multiply(size, gradient, derivative, out);
  }
  const std::int64_t columns = pass.width / 2;
  const Element* skip = pass.skip + (image * (pass.height / 2) + y) * columns * pass.channels;
  for (std::int64_t x = 0; x < 2 * columns; ++x) {
    const std::int64_t at = x * pass.channels;
    multiply_add(pass.channels, gradient + at, derivative + at, 0.25F, skip + x / 2 * pass.channels,
                 out + at);
  }
  const std::int64_t done = 2 * columns * pass.channels;
  multiply(size - done, gradient + done, derivative + done, out + done);
}

template <typename Element>
void run(const DerivativePass<Element>& pass) {
  const std::int64_t rows = pass.images * pass.height;
#pragma omp parallel for num_threads(loop_threads()) \
    schedule(static) if (rows * pass.width * pass.channels > worth_threads)
  for (std::int64_t row = 0; row < rows; ++row) multiply_row(pass, row);
}

}  // namespace

void run_pass_cpu(const ActivationPass<float>& pass) { run(pass); }
void run_pass_cpu(const ActivationPass<Bfloat16>& pass) { run(pass); }
void run_pass_cpu(const DerivativePass<float>& pass) { run(pass); }
void run_pass_cpu(const DerivativePass<Bfloat16>& pass) { run(pass); }

}  // namespace stanley
