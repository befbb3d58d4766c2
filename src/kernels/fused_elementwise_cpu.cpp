#include <algorithm>
#include <type_traits>

#include "kernels/elementwise.hpp"
#include "kernels/fused_elementwise.hpp"
#include "kernels/loop_threads.hpp"

namespace stanley {
namespace {

/// Elements of a block of pixels, which stays in the innermost cache between its two steps.
constexpr std::int64_t block_size = 4096;
/// Elements from which on threads pay.
constexpr std::int64_t worth_threads = 16384;

/// That of two kernels which is for these elements.
template <typename Element, typename Floats, typename Halves>
constexpr const auto& of(const Floats& floats, const Halves& bfloat16) {
  if constexpr (std::is_same_v<Element, float>) {
    return floats;
  } else {
    return bfloat16;
  }
}

template <typename Element>
void activate_pixels(const FusedActivation<Element>& pass, std::int64_t first,
                     std::int64_t pixels) {
  const std::int64_t begin = first * pass.channels, count = pixels * pass.channels;
  Element* value = pass.value + begin;
  Element* hidden = pass.hidden == nullptr ? value : pass.hidden + begin;
  of<Element>(add_bias_floats, add_bias_bfloat16)(
      pixels, pass.channels, pass.z + begin, pass.bias,
      pass.skip == nullptr ? nullptr : pass.skip + begin, hidden);
  if (hidden != value) std::copy_n(hidden, count, value);
  of<Element>(activate_floats, activate_bfloat16)(pass.activation, pass.slope, count, value,
                                                  pass.derivative + begin);
}

template <typename Element>
void run(const FusedActivation<Element>& pass) {
  const std::int64_t block = std::max<std::int64_t>(1, block_size / pass.channels);
#pragma omp parallel for num_threads(loop_threads()) \
    schedule(static) if (pass.pixels * pass.channels > worth_threads)
  for (std::int64_t first = 0; first < pass.pixels; first += block) {
    activate_pixels(pass, first, std::min(block, pass.pixels - first));
  }
}

/// One row of pixels of one image.
template <typename Element>
void multiply_row(const FusedDerivative<Element>& pass, std::int64_t row) {
  const auto& multiply = of<Element>(multiply_floats, multiply_bfloat16);
  const auto& multiply_add = of<Element>(multiply_add_floats, multiply_add_bfloat16);
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
void run(const FusedDerivative<Element>& pass) {
  const std::int64_t rows = pass.images * pass.height;
#pragma omp parallel for num_threads(loop_threads()) \
    schedule(static) if (rows * pass.width * pass.channels > worth_threads)
  for (std::int64_t row = 0; row < rows; ++row) multiply_row(pass, row);
}

}  // namespace

void run_fused_cpu(const FusedActivation<float>& pass) { run(pass); }
void run_fused_cpu(const FusedActivation<Bfloat16>& pass) { run(pass); }
void run_fused_cpu(const FusedDerivative<float>& pass) { run(pass); }
void run_fused_cpu(const FusedDerivative<Bfloat16>& pass) { run(pass); }

}  // namespace stanley
