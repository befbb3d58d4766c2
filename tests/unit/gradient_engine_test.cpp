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

Analysis analyse(const EnergyConfig& config, const StateShape& shape,
                 const std::vector<at::Tensor>& weights, const at::Tensor& state, double stored) {
  const std::vector<ConvolutionLayer> layers = convnet_layers(config.channels, shape);
  constexpr double u2 = 0x1p-48;
  const double r = stored * stored / 5;
  const double activation = r + 64 * u2;  // about eight float32 roundings inside the activation
  at::Tensor a = state.to(at::kDouble), va = r * a.square();
  std::vector<at::Tensor> derivative, derivative_variance;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const ConvolutionLayer& layer = layers[i];
    const at::Tensor &w = weights[2 * i], &b = weights[2 * i + 1];
    const auto n = static_cast<double>(layer.in * layer.kernel_height * layer.kernel_width + 1);
    const auto convolve = [&](const at::Tensor& x, const at::Tensor& filter,
                              const at::Tensor& bias) {
      return at::conv2d(x, filter, bias, layer.stride, layer.padding);
    };
    const at::Tensor z = convolve(a, w, b);
    at::Tensor vz = convolve(va, w.square(), at::zeros_like(b)) +
                    (r + n * u2) * convolve(a.square(), w.square(), b.square());
    if (i + 1 == layers.size()) {
      a = z.flatten();
      va = vz.flatten() + u2 * a.square();
      break;
    }
    vz += r * z.square();
    if (config.activation == Activation::silu) {
      const at::Tensor s = at::sigmoid(z);
      const at::Tensor d = s + z * s * (1 - s);
      a = z * s;
      va = (d.square() + vz) * vz + activation * a.square();
      derivative.push_back(d);
      derivative_variance.push_back(0.25 * vz + activation);  // |f″| ≤ ½, |f′| < 1.1
    } else {
      // The derivative jumps at 0: the probability that z has the other sign, with twice the
      // standard deviation, so that any jump within four of them fits into the bound below.
      const at::Tensor jump = 0.5 * at::erfc(z.abs() / (vz.sqrt() * (2 * std::sqrt(2.0))));
      const at::Tensor d = at::where(z > 0, at::ones_like(z), at::full_like(z, config.slope));
      a = z * d;
      va = vz + activation * a.square();
      derivative.push_back(d);
      derivative_variance.push_back((1 - config.slope) * (1 - config.slope) * jump +
                                    r * d.square());
    }
  }
  const at::Tensor top = weights[2 * layers.size() - 2];
  at::Tensor g = top.expand_as(derivative.back()), vg = r * g.square();
  for (std::size_t i = layers.size() - 1; i-- > 0;) {
    const ConvolutionLayer& layer = layers[i];
    const at::Tensor& w = weights[2 * i];
    const at::Tensor p = g * derivative[i];
    const at::Tensor vp = vg * derivative[i].square() + (g.square() + vg) * derivative_variance[i] +
                          2 * r * p.square();
    const auto n = static_cast<double>(layer.out * layer.kernel_height * layer.kernel_width + 1);
    const auto missing = [&](std::int64_t in, std::int64_t out, std::int64_t kernel) {
      return in - ((out - 1) * layer.stride - 2 * layer.padding + kernel);
    };
    const std::vector<std::int64_t> left{
        missing(layer.in_height, layer.out_height, layer.kernel_height),
        missing(layer.in_width, layer.out_width, layer.kernel_width)};
    const auto transpose = [&](const at::Tensor& x, const at::Tensor& filter) {
      return at::conv_transpose2d(x, filter, {}, layer.stride, layer.padding, left);
    };
    g = transpose(p, w);
    vg = transpose(vp, w.square()) + (r + n * u2) * transpose(p.square(), w.square()) +
         r * g.square();
  }
  return {a, g, va, vg};
}

struct Case {
  StateShape shape;
  std::int64_t channels, batch;
  Activation activation;
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
  return {.channels = one.channels, .activation = one.activation, .slope = 0.2};
}

/// The convnet with weights twice as large as at the start, so that its activations bend.
std::unique_ptr<Network> network_of(const Case& one) {
  auto network = make_network(config_of(one), one.shape, 11);
  const c10::NoGradGuard no_gradient;
  for (NamedTensor& parameter : network->parameters()) parameter.value.mul_(2.0);
  return network;
}

using MakeEngine = std::unique_ptr<GradientEngine> (*)(const Network&, const EnergyConfig&,
                                                       Precision);

std::unique_ptr<GradientEngine> convnet(const Network& network, const EnergyConfig& config,
                                        Precision precision) {
  return make_convnet_engine(config, network.state_shape(), precision);
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
void expect_within_rounding(MakeEngine make, Precision precision) {
  const double stored = precision == Precision::bfloat16 ? 0x1p-8 : 0x1p-24;
  for (const Case& one : cases()) {
    const auto network = network_of(one);
    const EnergyConfig config = config_of(one);
    const auto engine = make(*network, config, precision);
    engine->load(network->parameter_values());
    const at::Tensor state = states(one.batch, one.shape);
    const Result found = evaluate(*engine, state);
    const Result expected = exact(*network, state);
    const Analysis bound =
        analyse(config, one.shape, to_double(network->parameter_values()), state, stored);
    const std::string name = engine->description() + ' ' + testing::PrintToString(one.shape);
    // The analysis is one of the same function, and says something.
    const double size = root_mean_square(expected.gradient);
    EXPECT_LT(root_mean_square(bound.gradient - expected.gradient), 1e-12 * size) << name;
    EXPECT_LT(bound.gradient_variance.mean().sqrt().item<double>(),
              (precision == Precision::bfloat16 ? 0.2 : 2e-5) * size)
        << name;
    const at::Tensor energy_errors =
        (found.energy - bound.energy).abs() / bound.energy_variance.sqrt();
    const at::Tensor gradient_errors =
        (found.gradient - expected.gradient).abs() / bound.gradient_variance.sqrt();
    EXPECT_LT(energy_errors.max().item<double>(), 6) << name;
    EXPECT_LT(gradient_errors.max().item<double>(), 6) << name;
    EXPECT_LT(root_mean_square(gradient_errors), 1) << name;
  }
}

TEST(GradientEngine, ConvnetFloat32IsExactButForRounding) {
  expect_within_rounding(convnet, Precision::float32);
}
TEST(GradientEngine, ConvnetBfloat16IsExactButForRounding) {
  expect_within_rounding(convnet, Precision::bfloat16);
}
TEST(GradientEngine, AutogradFloat32IsExactButForRounding) {
  expect_within_rounding(autograd, Precision::float32);
}
TEST(GradientEngine, AutogradBfloat16IsExactButForRounding) {
  expect_within_rounding(autograd, Precision::bfloat16);
}

TEST(GradientEngine, AutogradServesEveryNetwork) {
  for (const EnergyType type : {EnergyType::mlp, EnergyType::resnet}) {
    const StateShape shape{1, 9, 8};
    const auto network = make_network({.type = type, .channels = 4, .hidden = {30, 20}}, shape, 2);
    const auto engine = make_gradient_engine(*network, {.type = type}, Precision::float32, cpu);
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
                            Case{{3, 9, 14}, 8, 64, Activation::leaky_relu}}) {
      const auto network = network_of(one);
      const auto engine = convnet(*network, config_of(one), precision);
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
  const Case one{{1, 9, 9}, 4, 9, Activation::silu};
  for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
    const auto network = network_of(one);
    const auto engine = convnet(*network, config_of(one), precision);
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
  for (const MakeEngine make : {convnet, autograd}) {
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
