#include "energy/gradient_engine.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <omp.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "random/normal.hpp"
#include "sampler/update.hpp"

namespace stanley {
namespace {

constexpr at::DeviceType cpu = at::kCPU;

struct Result {
  at::Tensor energy, gradient;
};

Result evaluate(GradientEngine& engine, const at::Tensor& state) {
  Result result{at::empty({state.size(0)}), at::empty_like(state)};
  engine.evaluate(state, result.energy, result.gradient);
  return result;
}

/// n states, normal with standard deviation 0.5.
at::Tensor states(std::int64_t n, const StateShape& shape, std::uint32_t seed = 1) {
  std::vector<std::int64_t> extents{n}, ids(static_cast<std::size_t>(n));
  extents.insert(extents.end(), shape.begin(), shape.end());
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>(i);
  at::Tensor state = at::empty(extents);
  fill_normal_cpu({.seed = seed}, ids, 0, element_count(shape), 0.5F,
                  state.mutable_data_ptr<float>());
  return state;
}

std::vector<at::Tensor> to_double(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> result;
  for (const at::Tensor& tensor : tensors) result.push_back(tensor.detach().to(at::kDouble));
  return result;
}

/// Energy (rounded once, to float32) and gradient by LibTorch's autograd in double precision.
Result exact(const Network& network, const at::Tensor& state) {
  at::Tensor input = state.to(at::kDouble).set_requires_grad(true);
  const at::Tensor energy = network.forward(input, to_double(network.parameter_values()));
  return {energy.detach().to(at::kDouble), torch::autograd::grad({energy.sum()}, {input})[0]};
}

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
at::Tensor convolve(const ConvolutionLayer& layer, const at::Tensor& x, const at::Tensor& w) {
  return at::conv2d(x, w, {}, layer.stride, layer.padding);
}
at::Tensor convolve_back(const ConvolutionLayer& layer, const at::Tensor& x, const at::Tensor& w) {
  const auto missing = [&](std::int64_t in, std::int64_t out, std::int64_t kernel) {
    return in - ((out - 1) * layer.stride - 2 * layer.padding + kernel);
  };
  const std::vector<std::int64_t> left{
      missing(layer.in_height, layer.out_height, layer.kernel_height),
      missing(layer.in_width, layer.out_width, layer.kernel_width)};
  return at::conv_transpose2d(x, w, {}, layer.stride, layer.padding, left);
}

Analysis analyse(const EnergyConfig& config, const StateShape& shape,
                 const std::vector<at::Tensor>& weights, const at::Tensor& state, double stored) {
  const std::vector<ConvolutionLayer> layers = convnet_layers(config.channels, shape);
  const Roundings roundings(config, stored);
  const auto size = [](std::int64_t channels, const ConvolutionLayer& layer) {
    return static_cast<double>(channels * layer.kernel_height * layer.kernel_width + 1);
  };
  Tracked a = roundings.store(state.to(at::kDouble)), energy;
  std::vector<Tracked> derivative;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const ConvolutionLayer& layer = layers[i];
    Tracked z = roundings.sum_of_products(
        a, weights[2 * i], size(layer.in, layer), 1,
        [&](const at::Tensor& x, const at::Tensor& w) { return convolve(layer, x, w); });
    z.value = z.value + weights[2 * i + 1].view({1, -1, 1, 1});
    if (i + 1 == layers.size()) {
      energy = {z.value.flatten(), z.variance.flatten() + u2 * z.value.flatten().square()};
      break;
    }
    z.variance = z.variance + roundings.store(z.value).variance;
    auto [value, slope] = roundings.activate(z);
    a = value;
    derivative.push_back(slope);
  }
  Tracked g = roundings.store(weights[2 * layers.size() - 2].expand_as(derivative.back().value));
  for (std::size_t i = layers.size() - 1; i-- > 0;) {
    const ConvolutionLayer& layer = layers[i];
    g = roundings.sum_of_products(
        roundings.multiply(g, derivative[i]), weights[2 * i], size(layer.out, layer), 1,
        [&](const at::Tensor& x, const at::Tensor& w) { return convolve_back(layer, x, w); });
  }
  return {energy.value, g.value, energy.variance, g.variance};
}

/// The same for the resnet. Winograd's transformations multiply numbers up to 8: with independent
/// inputs and filters of variance 1, the products that make an output of a tile of 4×4 have, in one
/// direction, the squared sum Σ A²·(Σ G²)·(Σ B²) ≤ 94.3 for 3 taps in place of 3, and ≤ 31.6 for 2
/// in place of 2; two directions square the ratio. The convolution of 4×4 that takes a mean along
/// is one of 16·channels terms, none of whose weights is larger than a mean of four.
Analysis analyse_resnet(const EnergyConfig& config, const StateShape& shape,
                        const std::vector<at::Tensor>& weights, const at::Tensor& state) {
  constexpr double growth = (94.3 / 3) * (94.3 / 3);
  const Roundings roundings(config, 0x1p-24);
  auto weight = weights.begin();
  const auto convolution = [](std::int64_t in, std::int64_t out, std::int64_t kernel,
                              std::int64_t height, std::int64_t width) {
    return ConvolutionLayer{in, out, kernel, kernel, 1, kernel / 2, height, width, height, width};
  };
  const auto forward = [&](const ConvolutionLayer& layer, const Tracked& x, const at::Tensor& w,
                           const at::Tensor& bias) {
    Tracked z = roundings.sum_of_products(x, w, static_cast<double>(layer.in * 16 + 1), growth,
                                          [&](const at::Tensor& left, const at::Tensor& right) {
                                            return convolve(layer, left, right);
                                          });
    z.value = z.value + bias.view({1, -1, 1, 1});
    z.variance = z.variance + roundings.store(z.value).variance;
    return z;
  };
  const auto backward = [&](const ConvolutionLayer& layer, const Tracked& g, const at::Tensor& w) {
    return roundings.sum_of_products(g, w, static_cast<double>(layer.out * 16 + 1), growth,
                                     [&](const at::Tensor& left, const at::Tensor& right) {
                                       return convolve_back(layer, left, right);
                                     });
  };
  const auto plus = [&](const Tracked& x, const Tracked& y) {
    const at::Tensor sum = x.value + y.value;
    return Tracked{sum, x.variance + y.variance + roundings.store(sum).variance};
  };

  struct Step {
    ResidualBlock block;
    Tracked first, middle;  // f′
    at::Tensor weights[3];
  };
  std::vector<Step> steps;
  const ConvolutionLayer input = convolution(shape[0], config.channels, 3, shape[1], shape[2]);
  Tracked hidden = forward(input, roundings.store(state.to(at::kDouble)), weight[0], weight[1]);
  weight += 2;
  for (const ResidualBlock& block : resnet_blocks(config, shape)) {
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
    const ResidualBlock& block = step->block;
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

struct Case {
  StateShape shape;
  std::int64_t channels, batch;
  Activation activation;
  std::int64_t blocks = 0;  // of a resnet; 0: a convnet
};

std::vector<Case> cases() {
  std::vector<Case> result;
  for (const Activation activation : {Activation::silu, Activation::leaky_relu}) {
    result.push_back({{1, 8, 8}, 4, 1, activation});
    result.push_back({{1, 32, 32}, 16, 9, activation});
    result.push_back({{3, 9, 14}, 8, 7, activation});
    result.push_back({{3, 17, 11}, 4, 64, activation});
    result.push_back({{1, 15, 28}, 16, 8, activation});
    result.push_back({{1, 19, 37}, 16, 17, activation});
    result.push_back({{2, 10, 9}, 3, 9, activation});
  }
  return result;
}

EnergyConfig config_of(const Case& one) {
  return {.type = one.blocks > 0 ? EnergyType::resnet : EnergyType::convnet,
          .channels = one.channels,
          .activation = one.activation,
          .slope = 0.2,
          .blocks = std::max<std::int64_t>(one.blocks, 1)};
}

/// The network with weights twice as large as at the start, so that its activations bend.
std::unique_ptr<Network> network_of(const Case& one) {
  auto network = make_network(config_of(one), one.shape, 11);
  const c10::NoGradGuard no_gradient;
  for (NamedTensor& parameter : network->parameters()) parameter.value.mul_(2.0);
  return network;
}

using MakeEngine = std::unique_ptr<GradientEngine> (*)(const Network&, const EnergyConfig&,
                                                       Precision);

/// The network's own engine.
std::unique_ptr<GradientEngine> own(const Network& network, const EnergyConfig& config,
                                    Precision precision) {
  return make_gradient_engine(network, config, precision, cpu);
}

std::unique_ptr<GradientEngine> autograd(const Network& network, const EnergyConfig&,
                                         Precision precision) {
  return make_autograd_engine(network, precision, cpu);
}

double root_mean_square(const at::Tensor& values) {
  return values.square().mean().sqrt().item<double>();
}

/// The errors' root mean square below one standard deviation of the analysis, which is up to ten
/// times too large for float32 (the libraries add up in blocks), and none above six. Were they
/// normal and the analysis exact, one of 5·10^8 would be above, of the 120,000 looked at.
void expect_within(const Analysis& bound, const Result& found, const Result& expected,
                   double largest, const std::string& name) {
  // The analysis is one of the same function, and says something.
  const double size = root_mean_square(expected.gradient);
  EXPECT_LT(root_mean_square(bound.gradient - expected.gradient), 1e-12 * size) << name;
  EXPECT_LT(bound.gradient_variance.mean().sqrt().item<double>(), largest * size) << name;
  const at::Tensor energy_errors =
      (found.energy - bound.energy).abs() / bound.energy_variance.sqrt();
  const at::Tensor gradient_errors =
      (found.gradient - expected.gradient).abs() / bound.gradient_variance.sqrt();
  EXPECT_LT(energy_errors.max().item<double>(), 6) << name;
  EXPECT_LT(gradient_errors.max().item<double>(), 6) << name;
  EXPECT_LT(root_mean_square(gradient_errors), 1) << name;
}

void expect_within_rounding(MakeEngine make, Precision precision) {
  const double stored = precision == Precision::bfloat16 ? 0x1p-8 : 0x1p-24;
  for (const Case& one : cases()) {
    const auto network = network_of(one);
    const EnergyConfig config = config_of(one);
    const auto engine = make(*network, config, precision);
    engine->load(network->parameter_values());
    const at::Tensor state = states(one.batch, one.shape);
    expect_within(analyse(config, one.shape, to_double(network->parameter_values()), state, stored),
                  evaluate(*engine, state), exact(*network, state),
                  precision == Precision::bfloat16 ? 0.2 : 2e-5,
                  engine->description() + ' ' + testing::PrintToString(one.shape));
  }
}

TEST(GradientEngine, ConvnetFloat32IsExactButForRounding) {
  expect_within_rounding(own, Precision::float32);
}
TEST(GradientEngine, ConvnetBfloat16IsExactButForRounding) {
  expect_within_rounding(own, Precision::bfloat16);
}
TEST(GradientEngine, AutogradFloat32IsExactButForRounding) {
  expect_within_rounding(autograd, Precision::float32);
}
TEST(GradientEngine, AutogradBfloat16IsExactButForRounding) {
  expect_within_rounding(autograd, Precision::bfloat16);
}

TEST(GradientEngine, ResnetFloat32IsExactButForRounding) {
  for (const Activation activation : {Activation::silu, Activation::leaky_relu}) {
    for (const Case& one :
         {Case{{1, 8, 8}, 4, 1, activation, 1}, Case{{3, 16, 32}, 8, 5, activation, 1},
          Case{{2, 9, 14}, 5, 19, activation, 2}, Case{{3, 35, 11}, 16, 3, activation, 3}}) {
      const auto network = network_of(one);
      const auto engine = make_gradient_engine(*network, config_of(one), Precision::float32, cpu);
      EXPECT_EQ(engine->description(), "Winograd float32");
      engine->load(network->parameter_values());
      const at::Tensor state = states(one.batch, one.shape);
      // A derivative that may jump makes most of the leaky ReLU's bound.
      const double largest = activation == Activation::silu ? 2e-3 : 0.2;
      expect_within(
          analyse_resnet(config_of(one), one.shape, to_double(network->parameter_values()), state),
          evaluate(*engine, state), exact(*network, state), largest,
          "resnet " + testing::PrintToString(one.shape));
    }
  }
}

TEST(GradientEngine, AutogradServesEveryNetwork) {
  for (const EnergyType type : {EnergyType::mlp, EnergyType::resnet}) {
    const StateShape shape{1, 9, 8};
    const auto network = make_network({.type = type, .channels = 4, .hidden = {30, 20}}, shape, 2);
    const auto engine = make_autograd_engine(*network, Precision::float32, cpu);
    EXPECT_EQ(engine->description(), "autograd float32");
    engine->load(network->parameter_values());
    const at::Tensor state = states(5, shape);
    const Result found = evaluate(*engine, state), expected = exact(*network, state);
    // No sum is longer than 300 terms and no path has more than eight layers.
    const double relative = 8 * std::sqrt(300.0) * 0x1p-24;
    EXPECT_LT(root_mean_square(found.gradient - expected.gradient),
              relative * root_mean_square(expected.gradient));
    EXPECT_LT((found.energy - expected.energy).abs().max().item<double>(), 1e-5);
  }
}

TEST(GradientEngine, TheConvnetOnTheProcessorHasAnEngineOfItsOwn) {
  const auto network = make_network({.channels = 2}, {1, 8, 8}, 2);
  const auto name = [&](Precision precision) {
    return make_gradient_engine(*network, {.channels = 2}, precision, cpu)->description();
  };
  EXPECT_EQ(name(Precision::float32), "Winograd float32");
  EXPECT_EQ(name(Precision::bfloat16), "oneDNN bfloat16");
  EXPECT_EQ(resolve_precision(Precision::float32, cpu), Precision::float32);
  EXPECT_EQ(resolve_precision(Precision::bfloat16, cpu), Precision::bfloat16);
  EXPECT_NE(resolve_precision(Precision::automatic, cpu), Precision::automatic);
}

TEST(GradientEngine, AStateHasTheSameBitsAloneAndInAnyBatch) {
  const int threads_before = omp_get_max_threads();
  for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
    for (const Case& one : {Case{{1, 32, 32}, 16, 64, Activation::silu},
                            Case{{3, 9, 14}, 8, 64, Activation::leaky_relu},
                            Case{{3, 9, 14}, 8, 64, Activation::silu, 2}}) {
      const auto network = network_of(one);
      const auto engine = own(*network, config_of(one), precision);
      if (one.blocks > 0 && precision == Precision::bfloat16) continue;  // autograd's
      ASSERT_TRUE(engine->batch_invariant());
      engine->load(network->parameter_values());
      const at::Tensor all = states(64, one.shape);
      omp_set_num_threads(1);
      const Result expected = evaluate(*engine, all);
      for (const int threads : {1, 2}) {
        omp_set_num_threads(threads);
        for (const std::int64_t size : {1, 7, 15, 16, 17, 33}) {
          for (const std::int64_t first : {0, 31}) {
            const Result part = evaluate(*engine, all.narrow(0, first, size).contiguous());
            EXPECT_TRUE(at::equal(part.energy, expected.energy.narrow(0, first, size)));
            EXPECT_TRUE(at::equal(part.gradient, expected.gradient.narrow(0, first, size)))
                << engine->description() << " size " << size << " from " << first;
          }
        }
        const Result backward = evaluate(*engine, all.flip(0).contiguous());
        EXPECT_TRUE(at::equal(backward.gradient.flip(0), expected.gradient));
      }
    }
  }
  omp_set_num_threads(threads_before);
}

TEST(GradientEngine, ANeighbourThatIsNotANumberChangesNothing) {
  const Case convnet{{1, 9, 9}, 4, 9, Activation::silu};
  const Case resnet{{1, 9, 9}, 4, 9, Activation::silu, 2};
  for (const auto& [one, precision] :
       {std::pair{convnet, Precision::float32}, std::pair{convnet, Precision::bfloat16},
        std::pair{resnet, Precision::float32}}) {
    const auto network = network_of(one);
    const auto engine = own(*network, config_of(one), precision);
    engine->load(network->parameter_values());
    at::Tensor state = states(9, one.shape);
    const Result before = evaluate(*engine, state);
    state[3].fill_(std::nanf(""));
    const Result after = evaluate(*engine, state);
    for (std::int64_t i = 0; i < 9; ++i) {
      EXPECT_EQ(at::equal(after.gradient[i], before.gradient[i]), i != 3);
      EXPECT_EQ(std::isnan(after.energy[i].item<float>()), i == 3);
    }
  }
}

std::vector<std::pair<std::unique_ptr<GradientEngine>, std::unique_ptr<Network>>> all_engines() {
  const Case one{{1, 9, 9}, 4, 8, Activation::silu};
  std::vector<std::pair<std::unique_ptr<GradientEngine>, std::unique_ptr<Network>>> result;
  for (const MakeEngine make : {own, autograd}) {
    for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
      auto network = network_of(one);
      auto engine = make(*network, config_of(one), precision);
      result.emplace_back(std::move(engine), std::move(network));
    }
  }
  return result;
}

TEST(GradientEngine, ComputesNoGradientOfWeights) {
  for (const bool recording : {true, false}) {
    const c10::AutoGradMode mode(recording);
    for (auto& [engine, network] : all_engines()) {
      engine->load(network->weights(network->parameter_values()));
      const at::Tensor state = states(4, {1, 9, 9});
      const at::Tensor untouched = state.clone();
      const Result result = evaluate(*engine, state);
      EXPECT_FALSE(state.requires_grad() || state.grad().defined());
      EXPECT_TRUE(at::equal(state, untouched));
      EXPECT_FALSE(result.energy.requires_grad() || result.gradient.requires_grad());
      for (const NamedTensor& parameter : network->parameters()) {
        EXPECT_FALSE(parameter.value.grad().defined());
        EXPECT_TRUE(parameter.value.requires_grad() && parameter.value.is_leaf());
      }
    }
  }
}

TEST(GradientEngine, LoadTakesACopy) {
  for (auto& [engine, network] : all_engines()) {
    engine->load(network->parameter_values());
    const at::Tensor state = states(4, {1, 9, 9});
    const Result before = evaluate(*engine, state);
    {
      const c10::NoGradGuard no_gradient;
      for (NamedTensor& parameter : network->parameters()) parameter.value.mul_(0.5);
    }
    const Result same = evaluate(*engine, state);
    EXPECT_TRUE(at::equal(same.energy, before.energy));
    EXPECT_TRUE(at::equal(same.gradient, before.gradient)) << engine->description();
    engine->load(network->parameter_values());
    EXPECT_FALSE(at::equal(evaluate(*engine, state).gradient, before.gradient));
  }
}

}  // namespace
}  // namespace stanley
