#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/amx_elementwise.hpp"
#include "kernels/amx_product.hpp"
#include "kernels/bfloat16.hpp"
#include "kernels/chain_update.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/first_convolution.hpp"
#include "kernels/image_layout.hpp"
#include "kernels/matrix_product.hpp"
#include "kernels/order_statistic.hpp"
#include "kernels/winograd.hpp"

/// One call of each kernel that the tables of kernels/ list, on sizes as a small convnet has them:
/// for the test that its variants agree (unit/kernel_table_test.cpp), and for their times
/// (kernel_times.cpp).
namespace stanley {

struct KernelCase {
  std::string name;
  /// How far the results of two sets may be apart, relative to the largest of them; 0: not a bit.
  double apart;
  std::function<void()> call;
  std::function<std::vector<float>()> result;  ///< of the calls so far
};

namespace kernel_cases {

using Floats = std::shared_ptr<std::vector<float>>;
using Halves = std::shared_ptr<std::vector<Bfloat16>>;

/// Numbers of [-1, 1) that depend on the seed alone, or one number.
inline Floats numbers(std::int64_t count, std::int64_t seed) {
  auto made = std::make_shared<std::vector<float>>(static_cast<std::size_t>(count));
  for (float& one : *made) one = static_cast<float>((seed++ * 7919) % 1009) / 504.5F - 1.0F;
  return made;
}
inline Floats same(std::int64_t count, float value = 0) {
  return std::make_shared<std::vector<float>>(static_cast<std::size_t>(count), value);
}
inline Halves halves(std::int64_t count, std::int64_t seed) {
  auto made = std::make_shared<std::vector<Bfloat16>>();
  const Floats values = numbers(count, seed);
  for (const float one : *values) made->push_back(from_float<Bfloat16>(one));
  return made;
}
inline std::vector<float> to_floats(const Halves& values) {
  std::vector<float> made;
  for (const Bfloat16 one : *values) made.push_back(to_float(one));
  return made;
}

/// A convolution of 16 × 16 pixels, 32 channels to 32.
inline WinogradTiles tiles() {
  constexpr std::int64_t side = 16, channels = 32;
  WinogradTiles made = winograd_tiles(1, side, side, channels * channels);
  const std::int64_t in = made.input_rows(), out = made.output_rows();
  made.input = {side, side, channels, 1, std::max(side + 2, in), std::max(side + 2, in)};
  made.output = {side, side, channels, 1, std::max(side + 2, out), std::max(side + 2, out)};
  return made;
}

/// The list that the others add to.
class List {
 public:
  std::vector<KernelCase> cases;

  void add(const char* name, double apart, std::function<void()> call, Floats out) {
    cases.push_back({name, apart, std::move(call), [out] { return *out; }});
  }
  void add(const char* name, double apart, std::function<void()> call, Halves out) {
    cases.push_back({name, apart, std::move(call), [out] { return to_floats(out); }});
  }
};

// Rounded another way, where one set fuses what another does in two steps.
constexpr double rounding = 2e-6, rough = 0x1p-7;

inline void add_elementwise(List& list) {
  constexpr std::int64_t n = 4096 + 5, pixels = 64, channels = 64;
  const Floats a = numbers(n, 1), b = numbers(n, 2), f = numbers(n, 4), d = same(n);
  const auto silu = Activation::silu;
  list.add(
      "activate_floats", rounding, [=] { activate_floats(silu, 0, n, f->data(), d->data()); }, d);
  const Halves short_a = halves(n, 1), narrowed = halves(n, 9);
  const Floats widened = same(n);
  list.add(
      "widen", 0, [=] { widen(n, short_a->data(), widened->data()); }, widened);
  list.add(
      "narrow", 0, [=] { narrow(n, a->data(), narrowed->data()); }, narrowed);
  const Floats o[7] = {same(n), same(n), same(n), same(n), same(n), same(n), same(n)};
  list.add(
      "multiply_floats", 0, [=] { multiply_floats(n, a->data(), b->data(), o[0]->data()); }, o[0]);
  const Floats biased = numbers(n, 3);
  list.add(
      "add_bias", 0, [=] { add_bias(pixels, channels, b->data(), biased->data()); }, biased);
  list.add(
      "add", 0, [=] { add(n, a->data(), o[1]->data()); }, o[1]);
  list.add(
      "add_scaled", rounding, [=] { add_scaled(n, 0.3F, a->data(), o[2]->data()); }, o[2]);
  const Floats scaled = numbers(n, 5);
  list.add(
      "scale", 0, [=] { scale(n, 0.999F, scaled->data()); }, scaled);
  list.add(
      "add_pixels", rounding, [=] { add_pixels(pixels, channels, a->data(), o[3]->data()); }, o[3]);
  list.add(
      "mean_of_squares", rounding,
      [=] { mean_of_squares(16, channels, a->data(), b->data(), o[4]->data()); }, o[4]);
  list.add(
      "add_to_squares", rounding,
      [=] { add_to_squares(16, channels, a->data(), o[5]->data(), o[6]->data()); }, o[5]);
  const Floats sum = same(1);
  list.add(
      "dot", 1e-4, [=] { (*sum)[0] = dot(n, a->data(), b->data()); }, sum);
}

inline void add_chains(List& list) {
  constexpr std::int64_t d = 1024 + 3;
  const Floats g = numbers(d, 6), state = numbers(d, 7), normal = same(d), uniform = same(d),
               statistic = same(1);
  const random::Key key{.seed = 9};
  const auto update_rows = [=](const Floats& rows, double* sums) {
    const Update update{.low = -1, .high = 1, .key = key, .step = 3};
    update_chain(update, {.id = 5,
                          .dimension = d,
                          .gradient = g->data(),
                          .gain = nullptr,
                          .threshold = 0.3F,
                          .half_step = 0.1F,
                          .sigma = 0.2F,
                          .state = rows->data(),
                          .sums = sums});
  };
  list.add(
      "update_chain", 0, [=] { update_rows(state, nullptr); }, state);
  // With the thermometer's sums, which are added up in the same order by all sets.
  const Floats measured = numbers(d, 7);
  const auto sums = std::make_shared<std::vector<double>>(thermometer_sums);
  list.cases.push_back({"update_chain", 0, [=] { update_rows(measured, sums->data()); },
                        [=] { return std::vector<float>(sums->begin(), sums->end()); }});
  list.add(
      "fill_normal_chain", 0, [=] { fill_normal_chain(key, 5, 3, d, 2, normal->data()); }, normal);
  list.add(
      "fill_uniform_chain", 0, [=] { fill_uniform_chain(key, 5, 3, d, -1, 1, uniform->data()); },
      uniform);
  list.add(
      "order_statistic_of_row", 0,
      [=] { (*statistic)[0] = order_statistic_of_row(g->data(), d, d / 2); }, statistic);
}

inline void add_products(List& list) {
  constexpr std::int64_t side = 64;
  const Floats left = numbers(side * side, 8), right = numbers(side * side, 9),
               out = same(side * side);
  list.add(
      "multiply_matrices", rounding,
      [=] {
        MatrixProduct product{};
        product.rows = product.depth = product.columns = side;
        product.left = left->data();
        product.left_row = side;
        product.left_term = 1;
        product.right = right->data();
        product.right_panel = panel_columns;
        product.right_term = side;
        product.result = out->data();
        product.result_panel = panel_columns;
        product.result_row = side;
        multiply_matrices(product);
      },
      out);
  constexpr std::int64_t blocks = 4;
  const Halves weight = halves(blocks * tile_size, 10), source = halves(blocks * tile_size, 11);
  const Floats sums = same(tile_sums);
  list.add(
      "multiply_tiles", rounding,
      [=] {
        const AmxTiles tiles;
        tiles.multiply({.filter_tiles = 1,
                        .pixels = 1,
                        .rows = 1,
                        .blocks = blocks,
                        .weight = weight->data(),
                        .weight_step = 0,
                        .source = {source->data(), nullptr, nullptr, nullptr},
                        .pixel_step = 0,
                        .start = nullptr,
                        .start_step = 0,
                        .sums = sums->data()});
      },
      sums);
}

inline void add_first_convolution(List& list) {
  constexpr std::int64_t side = 16, filters = 16, columns = side + 2;
  const ImageLayout layout{side, side, filters};
  const Floats state = numbers(columns * columns, 12), weight = numbers(9 * filters, 13),
               bias = numbers(filters, 14), image = same(layout.size()), sum = same(9 * filters),
               gradient = numbers(layout.size(), 15), row = same(columns * lanes),
               rows = numbers(3 * columns * lanes, 16), out = same(whole_lanes(side));
  list.add(
      "convolve_first", rounding,
      [=] {
        convolve_first(layout, 1, state->data(), weight->data(), bias->data(), image->data());
      },
      image);
  list.add(
      "first_gradient_row", rounding,
      [=] {
        const float* of[3] = {rows->data(), rows->data() + columns * lanes,
                              rows->data() + 2 * columns * lanes};
        first_gradient_row(side, filters, of, weight->data(), out->data());
      },
      out);
  list.add(
      "surround_row", 0, [=] { surround_row(side, filters, gradient->data(), row->data()); }, row);
  list.add(
      "add_first_weights", rounding,
      [=] { add_first_weights(layout, 1, state->data(), gradient->data(), sum->data()); }, sum);
}

inline void add_winograd(List& list) {
  const WinogradTiles of = tiles();
  const std::int64_t channels = 32, stride = winograd_stride(of.count(), channels),
                     points = of.points() * stride;
  const Floats weight = numbers(channels * channels * 9, 17), image = numbers(of.input.size(), 18),
               products = numbers(points, 19), bias = numbers(channels, 20),
               filters = same(of.points() * of.filter_size()),
               adjoint = same(channels * channels * 9),
               given = numbers(of.points() * of.filter_size(), 21), in = same(points),
               out = same(of.output.size()), back = same(points),
               factor = numbers(of.input.size(), 22), gradient = same(of.input.size());
  // Transforms cancel: their sums have larger terms than they have.
  constexpr double cancelling = 2e-5;
  list.add(
      "winograd_filter", cancelling,
      [=] { winograd_filter(of, channels, channels, weight->data(), filters->data()); }, filters);
  list.add(
      "winograd_filter_adjoint", cancelling,
      [=] { winograd_filter_adjoint(of, channels, channels, given->data(), adjoint->data()); },
      adjoint);
  list.add(
      "winograd_input", cancelling, [=] { winograd_input(of, image->data(), stride, in->data()); },
      in);
  list.add(
      "winograd_output", cancelling,
      [=] { winograd_output(of, products->data(), stride, bias->data(), out->data()); }, out);
  list.add(
      "winograd_output_adjoint", cancelling,
      [=] { winograd_output_adjoint(of, image->data(), stride, back->data()); }, back);
  list.add(
      "winograd_input_adjoint", cancelling,
      [=] {
        winograd_input_adjoint(of, products->data(), stride, factor->data(), gradient->data());
      },
      gradient);
}

inline void add_pixels_of_tiles(List& list) {
  constexpr std::int64_t channels = 32, n = channels * tile_images, width = 16;
  const Floats z = numbers(n, 23), weight = numbers(channels, 24), energies = same(tile_images),
               sums = same(n), factor = numbers(tile_images, 25),
               taps = numbers(9 * tile_images, 26);
  const Halves skip = halves(n, 27), value = halves(n, 28), derivative = halves(n, 29),
               out[7] = {halves(n, 0), halves(n, 0), halves(n, 0), halves(n, 0),
                         halves(n, 0), halves(n, 0), halves(n, 0)};
  list.add(
      "activate_pixel", rough,
      [=] {
        activate_pixel({.activation = Activation::silu,
                        .slope = 0,
                        .channels = channels,
                        .z = z->data(),
                        .skip = skip->data(),
                        .hidden = nullptr,
                        .value = out[0]->data(),
                        .derivative = derivative->data()});
      },
      out[0]);
  list.add(
      "multiply_pixel", rough,
      [=] {
        multiply_pixel({.channels = channels,
                        .gradient = z->data(),
                        .derivative = value->data(),
                        .skip = skip->data(),
                        .factor = 0.25F,
                        .out = out[1]->data()});
      },
      out[1]);
  list.add(
      "store_pixel", 0, [=] { store_pixel(channels, z->data(), out[2]->data()); }, out[2]);
  list.add(
      "add_energies", rounding,
      [=] { add_energies(channels, weight->data(), value->data(), energies->data()); }, energies);
  list.add(
      "start_gradient", rough,
      [=] {
        start_gradient(channels, weight->data(), factor->data(), value->data(), out[3]->data());
      },
      out[3]);
  list.add(
      "add_products", rounding,
      [=] { stanley::add_products(channels, factor->data(), value->data(), sums->data()); }, sums);
  // Half of a tile: rows of 32 elements, sixteen channels.
  const Halves weights = halves(tile_size, 0), sources = halves(tile_size, 0);
  list.add(
      "pack_as_weights", 0, [=] { pack_as_weights(value->data(), weights->data()); }, weights);
  list.add(
      "pack_as_sources", 0, [=] { pack_as_sources(value->data(), sources->data()); }, sources);
  list.add(
      "mean_of_pixels", rough,
      [=] {
        const Bfloat16* pixels[4] = {value->data(), skip->data(), value->data(), value->data()};
        mean_of_pixels(channels, pixels, out[4]->data());
      },
      out[4]);
  const Floats states = numbers(tile_images * width * width, 30),
               scratch = same((width + 3) * tile_images), row = numbers(width * tile_images, 31),
               image = same(tile_images * width * width), tapped = same(3 * tile_images);
  const Halves entries = halves((width + 2) * 2 * tile_images, 0);
  list.add(
      "load_state_row", 0,
      [=] {
        load_state_row(tile_images, 1, width, width, 3, states->data(), scratch->data(),
                       entries->data());
      },
      entries);
  list.add(
      "add_taps", 0,
      [=] {
        float* rows[3] = {tapped->data(), tapped->data(), tapped->data()};
        add_taps(1, 0, 3, taps->data(), rows);
      },
      tapped);
  list.add(
      "store_state_row", 0,
      [=] { store_state_row(tile_images, 1, width, width, 3, row->data(), image->data()); }, image);
}

}  // namespace kernel_cases

/// Each kernel once, with buffers of its own.
inline std::vector<KernelCase> make_kernel_cases() {
  kernel_cases::List list;
  kernel_cases::add_elementwise(list);
  kernel_cases::add_chains(list);
  kernel_cases::add_products(list);
  kernel_cases::add_first_convolution(list);
  kernel_cases::add_winograd(list);
  kernel_cases::add_pixels_of_tiles(list);
  return std::move(list.cases);
}

}  // namespace stanley
