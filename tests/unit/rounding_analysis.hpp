#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <utility>
#include <vector>

#include "config/config.hpp"
#include "energy/network.hpp"
#include "engines/computed_layer.hpp"

namespace stanley {

/// Variances of the rounding errors of the convnet's energies and gradients, to first order, with
/// every rounding an independent error of mean 0 (Higham and Mary, "A new approach to probabilistic
/// rounding error analysis", 2019): a stored number has the relative error `stored` at most, and
/// stored²/5 is its mean square where mantissas are log-uniform; a sum of n products in float32 the
/// error √n·2^-24 of the root of the sum of the squared products.
struct Analysis {
  at::Tensor energy, gradient, energy_variance, gradient_variance;
};

/// A tensor in exact arithmetic and the variance of what the engine makes of it.
struct Tracked {
  at::Tensor value, variance;
};

constexpr double u2 = 0x1p-48;

/// What the roundings of a network's layers add, in an engine that stores numbers with the relative
/// error `stored` at most.
class Roundings {
 public:
  Roundings(const EnergyConfig& config, double stored) : config_(config), r_(stored * stored / 5) {}

  Tracked store(const at::Tensor& exact) const { return {exact, r_ * exact.square()}; }

  /// The sum of n products of x and w that `linear` makes, in which an algorithm's own numbers are
  /// larger than those products and their errors' variance so many times that of a plain sum.
  template <typename Linear>
  Tracked sum_of_products(const Tracked& x, const at::Tensor& w, double n, double growth,
                          Linear linear) const {
    const at::Tensor value = linear(x.value, w), squared = w.square();
    return {value, linear(x.variance, squared) +
                       (r_ + growth * n * u2) * linear(x.value.square(), squared) +
                       r_ * value.square()};
  }

  /// f(z) and f′(z).
  std::pair<Tracked, Tracked> activate(const Tracked& z) const {
    const double activation = r_ + 64 * u2;  // about eight float32 roundings inside the activation
    const at::Tensor& vz = z.variance;
    if (config_.activation == Activation::silu) {
      const at::Tensor s = at::sigmoid(z.value), d = s + z.value * s * (1 - s), a = z.value * s;
      return {{a, (d.square() + vz) * vz + activation * a.square()},
              {d, 0.25 * vz + activation}};  // |f″| ≤ ½, |f′| < 1.1
    }
    // The derivative jumps at 0: the probability that z has the other sign, with twice the
    // standard deviation, so that any jump within four of them fits into the bound below.
    const at::Tensor jump = 0.5 * at::erfc(z.value.abs() / (vz.sqrt() * (2 * std::sqrt(2.0))));
    const at::Tensor d =
        at::where(z.value > 0, at::ones_like(z.value), at::full_like(z.value, config_.slope));
    const at::Tensor a = z.value * d;
    return {{a, vz + activation * a.square()},
            {d, (1 - config_.slope) * (1 - config_.slope) * jump + r_ * d.square()}};
  }

  /// g · f′.
  Tracked multiply(const Tracked& g, const Tracked& d) const {
    const at::Tensor p = g.value * d.value;
    return {p, g.variance * d.value.square() + (g.value.square() + g.variance) * d.variance +
                   2 * r_ * p.square()};
  }

 private:
  EnergyConfig config_;
  double r_;
};

/// A convolution without its bias, and the adjoint.
inline at::Tensor convolve(const ConvolutionShape& layer, const at::Tensor& x,
                           const at::Tensor& w) {
  return at::conv2d(x, w, {}, layer.stride, layer.padding);
}
inline at::Tensor convolve_back(const ConvolutionShape& layer, const at::Tensor& x,
                                const at::Tensor& w) {
  const auto missing = [&](std::int64_t in, std::int64_t out) {
    return in - ((out - 1) * layer.stride - 2 * layer.padding + layer.kernel);
  };
  const std::vector<std::int64_t> left{missing(layer.height, layer.output_height()),
                                       missing(layer.width, layer.output_width())};
  return at::conv_transpose2d(x, w, {}, layer.stride, layer.padding, left);
}

inline Analysis analyse(const EnergyConfig& config, const StateShape& shape,
                        const std::vector<at::Tensor>& weights, const at::Tensor& state,
                        double stored) {
  std::vector<ConvolutionShape> layers;
  for (const Layer& layer : convnet_plan(config, shape).layers)
    layers.push_back(computed_shape(layer));
  const Roundings roundings(config, stored);
  const auto size = [](std::int64_t channels, const ConvolutionShape& layer) {
    return static_cast<double>(channels * layer.kernel * layer.kernel + 1);
  };
  Tracked a = roundings.store(state.to(at::kDouble));
  std::vector<Tracked> derivative;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const ConvolutionShape& layer = layers[i];
    Tracked z = roundings.sum_of_products(
        a, weights[2 * i], size(layer.channels, layer), 1,
        [&](const at::Tensor& x, const at::Tensor& w) { return convolve(layer, x, w); });
    z.value = z.value + weights[2 * i + 1].view({1, -1, 1, 1});
    z.variance = z.variance + roundings.store(z.value).variance;
    auto [value, slope] = roundings.activate(z);
    a = value;
    derivative.push_back(slope);
  }
  const at::Tensor& last = weights[2 * layers.size()];
  Tracked energy = roundings.sum_of_products(
      a, last, static_cast<double>(last.numel() + 1), 1,
      [](const at::Tensor& x, const at::Tensor& w) { return at::conv2d(x, w); });
  energy.value = (energy.value + weights.back()).flatten();
  energy.variance = energy.variance.flatten() + u2 * energy.value.square();
  Tracked g = roundings.store(last.expand_as(derivative.back().value));
  for (std::size_t i = layers.size(); i-- > 0;) {
    const ConvolutionShape& layer = layers[i];
    g = roundings.sum_of_products(
        roundings.multiply(g, derivative[i]), weights[2 * i], size(layer.filters, layer), 1,
        [&](const at::Tensor& x, const at::Tensor& w) { return convolve_back(layer, x, w); });
  }
  return {energy.value, g.value, energy.variance, g.variance};
}

/// The same for the resnet. Winograd's transformations multiply numbers up to 8: with independent
/// inputs and filters of variance 1, the products that make an output of a tile of 4×4 have, in one
/// direction, the squared sum Σ A²·(Σ G²)·(Σ B²) ≤ 94.3 for 3 taps in place of 3, and ≤ 31.6 for 2
/// in place of 2; two directions square the ratio. The convolution of 4×4 that takes a mean along
/// is one of 16·channels terms, none of whose weights is larger than a mean of four.
inline Analysis analyse_resnet(const EnergyConfig& config, const StateShape& shape,
                               const std::vector<at::Tensor>& weights, const at::Tensor& state,
                               double stored) {
  constexpr double growth = (94.3 / 3) * (94.3 / 3);
  const Roundings roundings(config, stored);
  auto weight = weights.begin();
  const auto convolution = [](std::int64_t in, std::int64_t out, std::int64_t kernel,
                              std::int64_t height, std::int64_t width) {
    return ConvolutionShape{.height = height,
                            .width = width,
                            .channels = in,
                            .filters = out,
                            .kernel = kernel,
                            .stride = 1,
                            .padding = kernel / 2};
  };
  const auto forward = [&](const ConvolutionShape& layer, const Tracked& x, const at::Tensor& w,
                           const at::Tensor& bias) {
    Tracked z =
        roundings.sum_of_products(x, w, static_cast<double>(layer.channels * 16 + 1), growth,
                                  [&](const at::Tensor& left, const at::Tensor& right) {
                                    return convolve(layer, left, right);
                                  });
    z.value = z.value + bias.view({1, -1, 1, 1});
    z.variance = z.variance + roundings.store(z.value).variance;
    return z;
  };
  const auto backward = [&](const ConvolutionShape& layer, const Tracked& g, const at::Tensor& w) {
    return roundings.sum_of_products(g, w, static_cast<double>(layer.filters * 16 + 1), growth,
                                     [&](const at::Tensor& left, const at::Tensor& right) {
                                       return convolve_back(layer, left, right);
                                     });
  };
  const auto plus = [&](const Tracked& x, const Tracked& y) {
    const at::Tensor sum = x.value + y.value;
    return Tracked{sum, x.variance + y.variance + roundings.store(sum).variance};
  };

  struct Block {
    std::int64_t in, out, height, width;
    bool halves;
  };
  struct Step {
    Block block;
    Tracked first, middle;  // f′
    at::Tensor weights[3];
  };
  std::vector<Step> steps;
  const ConvolutionShape input = convolution(shape[0], config.channels, 3, shape[1], shape[2]);
  Tracked hidden = forward(input, roundings.store(state.to(at::kDouble)), weight[0], weight[1]);
  weight += 2;
  const std::vector<Layer> layers = resnet_plan(config, shape).layers;
  for (std::size_t i = 1; i < layers.size(); i += 2) {
    const Layer& of_first = layers[i];
    const Block block{of_first.channels, of_first.filters, of_first.height, of_first.width,
                      layers[i + 1].means};
    const auto layer = [&](std::int64_t in, std::int64_t kernel) {
      return convolution(in, block.out, kernel, block.height, block.width);
    };
    Step step{block, {}, {}, {weight[0], weight[2], block.halves ? weight[4] : at::Tensor()}};
    auto [a, first] = roundings.activate(hidden);
    auto [b, middle] = roundings.activate(forward(layer(block.in, 3), a, weight[0], weight[1]));
    step.first = first;
    step.middle = middle;
    Tracked sum =
        plus(forward(layer(block.out, 3), b, weight[2], weight[3]),
             block.halves ? forward(layer(block.in, 1), hidden, weight[4], weight[5]) : hidden);
    weight += block.halves ? 6 : 4;
    // The variance of a mean is at most the mean of the variances.
    hidden =
        block.halves ? Tracked{at::avg_pool2d(sum.value, 2), at::avg_pool2d(sum.variance, 2)} : sum;
    steps.push_back(step);
  }
  const auto [top, derivative] = roundings.activate(hidden);
  const double pixels = static_cast<double>(top.value.size(2) * top.value.size(3));
  const at::Tensor output = weight[0].view({1, -1, 1, 1});
  const Tracked energy = roundings.sum_of_products(
      top, output.expand_as(top.value), pixels * static_cast<double>(top.value.size(1)) + 1, 1,
      [](const at::Tensor& x, const at::Tensor& w) {
        return (x * w).sum({1, 2, 3});
      });

  Tracked g = roundings.multiply(roundings.store(output.expand_as(top.value)), derivative);
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    const Block& block = step->block;
    const auto layer = [&](std::int64_t in, std::int64_t kernel) {
      return convolution(in, block.out, kernel, block.height, block.width);
    };
    Tracked wide = g;
    if (block.halves) {
      const auto spread = [&](const at::Tensor& x) {
        const at::Tensor squares = x.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4;
        return at::constant_pad_nd(
            squares, {0, block.width - squares.size(3), 0, block.height - squares.size(2)});
      };
      wide = {spread(g.value), spread(g.variance)};
    }
    const Tracked middle =
        roundings.multiply(backward(layer(block.out, 3), wide, step->weights[1]), step->middle);
    const Tracked first =
        roundings.multiply(backward(layer(block.in, 3), middle, step->weights[0]), step->first);
    g = plus(first, block.halves ? backward(layer(block.in, 1), wide, step->weights[2]) : wide);
  }
  g = backward(input, g, weights[0]);
  const at::Tensor value = energy.value + weight[1];
  return {value, g.value, energy.variance + u2 * value.square(), g.variance};
}

/// The same for the mlp.
inline Analysis analyse_mlp(const EnergyConfig& config, const std::vector<at::Tensor>& weights,
                            const at::Tensor& state, double stored) {
  const Roundings roundings(config, stored);
  const auto times = [](const at::Tensor& x, const at::Tensor& w) { return x.mm(w.t()); };
  const auto times_adjoint = [](const at::Tensor& g, const at::Tensor& w) { return g.mm(w); };
  const std::size_t layers = weights.size() / 2;
  Tracked a = roundings.store(state.to(at::kDouble).flatten(1)), z;
  std::vector<Tracked> derivative;
  for (std::size_t i = 0; i < layers; ++i) {
    const at::Tensor& w = weights[2 * i];
    z = roundings.sum_of_products(a, w, static_cast<double>(w.size(1) + 1), 1, times);
    z.value = z.value + weights[2 * i + 1];
    if (i + 1 == layers) break;
    z.variance = z.variance + roundings.store(z.value).variance;
    auto [value, slope] = roundings.activate(z);
    a = value;
    derivative.push_back(slope);
  }
  const at::Tensor energy = z.value.flatten();
  Tracked g = roundings.store(weights[2 * layers - 2].expand_as(derivative.back().value));
  for (std::size_t i = layers - 1; i-- > 0;) {
    const at::Tensor& w = weights[2 * i];
    g = roundings.sum_of_products(roundings.multiply(g, derivative[i]), w,
                                  static_cast<double>(w.size(0) + 1), 1, times_adjoint);
  }
  return {energy, g.value.view(state.sizes()), z.variance.flatten() + u2 * energy.square(),
          g.variance.view(state.sizes())};
}

}  // namespace stanley
