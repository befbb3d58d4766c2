#include "energy/gradient_engine.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <cstdlib>

#include "config/error.hpp"
#include "energy/network.hpp"
#include "engines/factory.hpp"
#include "engines/gpu_arithmetic.hpp"
#include "engines/torch_layer.hpp"
#include "kernels/amx_product.hpp"
#include "kernels/chain_update.hpp"
#include "kernels/loop_threads.hpp"
#include "random/normal.hpp"
#include "unit/evaluated.hpp"
#include "unit/rounding_analysis.hpp"

namespace stanley {
namespace {

constexpr at::DeviceType cpu = at::kCPU, gpu = at::kCUDA;

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

struct EngineCase {
  StateShape shape;
  std::int64_t channels, batch;
  Activation activation;
  std::int64_t blocks = 0;  // of a resnet; 0: a convnet
};

std::vector<EngineCase> cases() {
  std::vector<EngineCase> result;
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

EnergyConfig config_of(const EngineCase& one) {
  return {.type = one.blocks > 0 ? EnergyType::resnet : EnergyType::convnet,
          .channels = one.channels,
          .activation = one.activation,
          .slope = 0.2,
          .blocks = std::max<std::int64_t>(one.blocks, 1)};
}

/// The network with weights twice as large as at the start, so that its activations bend.
std::unique_ptr<Network> network_of(const EngineCase& one) {
  auto network = make_network(config_of(one), one.shape, 11);
  const c10::NoGradGuard no_gradient;
  for (NamedTensor& parameter : network->parameters()) parameter.value.mul_(2.0);
  return network;
}

using MakeEngine = std::unique_ptr<GradientEngine> (*)(const Network&, const EnergyConfig&,
                                                       Precision, at::Device);

/// The network's own engine.
std::unique_ptr<GradientEngine> own(const Network& network, const EnergyConfig& config,
                                    Precision precision, at::Device device) {
  return make_gradient_engine(network, config, precision, device);
}

std::unique_ptr<GradientEngine> autograd(const Network& network, const EnergyConfig&,
                                         Precision precision, at::Device device) {
  return make_autograd_engine(network, precision, device);
}

std::unique_ptr<GradientEngine> layerwise(const Network& network, const EnergyConfig& config,
                                          Precision precision, at::Device device) {
  return make_layerwise_engine(config, network, precision, device);
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

/// What evaluate() makes of the states, whose energies are as exact as the engine says, and the
/// same bits where no gradient is asked for.
Result checked(GradientEngine& engine, const at::Tensor& state, const Result& expected,
               at::Device device) {
  const Result found = evaluate(engine, state, device);
  const at::Tensor errors = (found.energy - expected.energy) / (1 + expected.energy.abs());
  EXPECT_LT(root_mean_square(errors), engine.energy_error()) << engine.description();
  at::Tensor alone = at::empty({state.size(0)}, at::TensorOptions(at::kDouble).device(device));
  engine.evaluate(state.to(device), alone, nullptr);
  EXPECT_TRUE(at::equal(alone.cpu(), found.energy)) << engine.description();
  return found;
}

void expect_within_rounding(MakeEngine make, Precision precision, at::Device device = cpu) {
  const double stored = precision == Precision::bfloat16 ? 0x1p-8 : 0x1p-24;
  for (const EngineCase& one : cases()) {
    const auto network = network_of(one);
    const EnergyConfig config = config_of(one);
    const auto engine = make(*network, config, precision, device);
    engine->load(network->parameter_values());
    const at::Tensor state = states(one.batch, one.shape);
    expect_within(analyse(config, one.shape, to_double(network->parameter_values()), state, stored),
                  checked(*engine, state, exact(*network, state), device), exact(*network, state),
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

TEST(GradientEngine, LayerwiseFloat32IsExactButForRounding) {
  expect_within_rounding(layerwise, Precision::float32);
}
TEST(GradientEngine, LayerwiseBfloat16IsExactButForRounding) {
  expect_within_rounding(layerwise, Precision::bfloat16);
}

void expect_resnet_within_rounding(MakeEngine make, Precision precision, double silu_bound,
                                   at::Device device = cpu) {
  const double stored = precision == Precision::bfloat16 ? 0x1p-8 : 0x1p-24;
  for (const Activation activation : {Activation::silu, Activation::leaky_relu}) {
    for (const EngineCase& one :
         {EngineCase{{1, 8, 8}, 4, 1, activation, 1}, EngineCase{{3, 16, 32}, 8, 5, activation, 1},
          EngineCase{{2, 9, 14}, 5, 19, activation, 2},
          EngineCase{{3, 35, 11}, 16, 3, activation, 3}}) {
      const auto network = network_of(one);
      const auto engine = make(*network, config_of(one), precision, device);
      engine->load(network->parameter_values());
      const at::Tensor state = states(one.batch, one.shape);
      // A derivative that may jump makes most of the leaky ReLU's bound.
      const double largest = activation == Activation::silu ? silu_bound : 100 * silu_bound;
      expect_within(analyse_resnet(config_of(one), one.shape,
                                   to_double(network->parameter_values()), state, stored),
                    checked(*engine, state, exact(*network, state), device), exact(*network, state),
                    largest,
                    engine->description() + " resnet " + testing::PrintToString(one.shape));
    }
  }
}

TEST(GradientEngine, ResnetFloat32IsExactButForRounding) {
  expect_resnet_within_rounding(own, Precision::float32, 2e-3);
}
TEST(GradientEngine, ResnetBfloat16IsExactButForRounding) {
  expect_resnet_within_rounding(own, Precision::bfloat16, 0.3);
}
TEST(GradientEngine, LayerwiseResnetFloat32IsExactButForRounding) {
  expect_resnet_within_rounding(layerwise, Precision::float32, 2e-3);
}
TEST(GradientEngine, LayerwiseResnetBfloat16IsExactButForRounding) {
  expect_resnet_within_rounding(layerwise, Precision::bfloat16, 0.3);
}

/// Errors as far as the first test's largest, relative to the whole.
void expect_all_engines_within_rounding(const EngineCase& one, Downsampling downsampling,
                                        std::int64_t levels) {
  EnergyConfig config = config_of(one);
  config.downsampling = downsampling;
  config.levels = levels;
  const auto network = make_network(config, one.shape, 11);
  const at::Tensor state = states(one.batch, one.shape);
  const Result expected = exact(*network, state);
  for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
    for (const MakeEngine make : {own, layerwise}) {
      const auto engine = make(*network, config, precision, cpu);
      engine->load(network->parameter_values());
      const Result found = evaluate(*engine, state);
      const double error = precision == Precision::bfloat16 ? 0.2 : 2e-5;
      EXPECT_LT(root_mean_square(found.gradient - expected.gradient),
                error * root_mean_square(expected.gradient))
          << engine->description() << ' ' << testing::PrintToString(one.shape);
      EXPECT_LT(root_mean_square(found.energy - expected.energy),
                error * (1 + root_mean_square(expected.energy)));
    }
  }
}

TEST(GradientEngine, TheConvnetWithMeansIsExactButForRoundingInAllEngines) {
  for (const EngineCase& one : {EngineCase{{3, 9, 14}, 8, 7, Activation::silu},
                                EngineCase{{1, 19, 37}, 16, 17, Activation::leaky_relu}}) {
    expect_all_engines_within_rounding(one, Downsampling::means, 3);
  }
}

TEST(GradientEngine, TheConvnetOfFewerLevelsIsExactButForRoundingInAllEngines) {
  for (const std::int64_t levels : {1, 2}) {
    for (const EngineCase& one : {EngineCase{{3, 8, 8}, 32, 17, Activation::silu},
                                  EngineCase{{1, 4, 6}, 16, 5, Activation::leaky_relu}}) {
      expect_all_engines_within_rounding(one, Downsampling::strides, levels);
      expect_all_engines_within_rounding(one, Downsampling::means, levels);
    }
  }
}

/// The share of ∇E's mean square that one pattern of 4×4 pixels has, the same all over the image.
double grid_share(Downsampling downsampling) {
  double pattern = 0, all = 0;
  for (std::uint32_t seed = 1; seed <= 8; ++seed) {
    const EnergyConfig config{.channels = 8, .downsampling = downsampling};
    const auto network = make_network(config, {1, 32, 32}, seed);
    const auto engine = own(*network, config, Precision::float32, cpu);
    engine->load(network->parameter_values());
    const at::Tensor gradient = evaluate(*engine, states(32, {1, 32, 32}, seed)).gradient;
    const at::Tensor squares = gradient.narrow(2, 8, 16).narrow(3, 8, 16).reshape({32, 4, 4, 4, 4});
    const at::Tensor mean = squares.mean({0, 1, 3});
    pattern += (mean - mean.mean()).square().mean().item<double>();
    all += squares.square().mean().item<double>();
  }
  return pattern / all;
}

TEST(GradientEngine, MeansLeaveLessOfAGridThanStrides) {
  EXPECT_LT(grid_share(Downsampling::means), 0.5 * grid_share(Downsampling::strides));
}

/// The mlp's errors over sixteen networks at once: a network has few rounded weights, which all of
/// its states share, so that its own mean says little.
void expect_mlp_within_rounding(const EnergyConfig& config, const StateShape& shape,
                                std::int64_t batch, Precision precision, at::Device device) {
  const bool rounds = precision == Precision::bfloat16;
  std::vector<at::Tensor> of[8];
  std::string name;
  for (std::uint32_t seed = 1; seed <= 16; ++seed) {
    const auto network = make_network(config, shape, seed);
    const auto engine = own(*network, config, precision, device);
    engine->load(network->parameter_values());
    const at::Tensor state = states(batch, shape, seed);
    const Analysis bound = analyse_mlp(config, to_double(network->parameter_values()), state,
                                       rounds ? 0x1p-8 : 0x1p-24);
    const Result found = evaluate(*engine, state, device), expected = exact(*network, state);
    const at::Tensor all[] = {
        bound.energy, bound.gradient, bound.energy_variance, bound.gradient_variance,
        found.energy, found.gradient, expected.energy,       expected.gradient};
    for (std::size_t i = 0; i < 8; ++i) of[i].push_back(all[i]);
    name = engine->description() + " mlp " + testing::PrintToString(shape);
  }
  const auto joined = [&](std::size_t i) { return at::cat(of[i]); };
  expect_within({joined(0), joined(1), joined(2), joined(3)}, {joined(4), joined(5)},
                {joined(6), joined(7)}, rounds ? 0.2 : 2e-5, name);
}

void expect_mlps_within_rounding(at::Device device) {
  for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
    for (const Activation activation : {Activation::silu, Activation::leaky_relu}) {
      for (const auto& [shape, hidden] :
           {std::pair{StateShape{2}, std::vector<std::int64_t>{128, 128}},
            {StateShape{7}, {33}},
            {StateShape{2, 5, 3}, {17, 40, 9}}}) {
        const EnergyConfig config{
            .type = EnergyType::mlp, .activation = activation, .slope = 0.2, .hidden = hidden};
        for (const std::int64_t batch : {1, 19}) {
          expect_mlp_within_rounding(config, shape, batch, precision, device);
        }
      }
    }
  }
}

TEST(GradientEngine, LayerwiseMlpIsExactButForRounding) { expect_mlps_within_rounding(cpu); }

TEST(GradientEngine, AnMlpWithoutHiddenLayersIsLinear) {
  const EnergyConfig config{.type = EnergyType::mlp, .hidden = {}};
  const auto network = make_network(config, {3}, 3);
  const auto engine = own(*network, config, Precision::float32, cpu);
  engine->load(network->parameter_values());
  const at::Tensor weight = network->parameters()[0].value.detach();
  const Result found = evaluate(*engine, states(4, {3}));
  EXPECT_TRUE(at::equal(found.gradient, weight.expand({4, 3})));
}

/// What a recorded graph relies on.
TEST(GradientEngine, LayerwiseKeepsItsNumbersAndTakesNewWeightsInPlace) {
  for (const EngineCase& one : {EngineCase{{1, 9, 9}, 4, 8, Activation::silu},
                                EngineCase{{3, 9, 14}, 8, 8, Activation::silu, 2}}) {
    for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
      const auto network = network_of(one);
      const auto engine = layerwise(*network, config_of(one), precision, cpu),
                 fresh = layerwise(*network, config_of(one), precision, cpu);
      EXPECT_TRUE(engine->repeatable());
      engine->load(network->parameter_values());
      const at::Tensor state = states(8, one.shape);
      const Result before = evaluate(*engine, state);
      evaluate(*engine, states(3, one.shape));
      EXPECT_TRUE(at::equal(evaluate(*engine, state).gradient, before.gradient));
      {
        const c10::NoGradGuard no_gradient;
        for (NamedTensor& parameter : network->parameters()) parameter.value.mul_(0.9);
      }
      engine->load(network->parameter_values());
      fresh->load(network->parameter_values());
      const Result after = evaluate(*engine, state), expected = evaluate(*fresh, state);
      EXPECT_TRUE(at::equal(after.gradient, expected.gradient));
      EXPECT_TRUE(at::equal(after.energy, expected.energy));
    }
  }
}

TEST(GradientEngine, LayerwiseWeightsStayWhereTheyAre) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor first = states(5, {3, 4, 4}), second = states(5, {3, 4, 4}, 2);
    at::Tensor held;
    copy_to(held, first, at::TensorOptions(type));
    const void* const memory = held.const_data_ptr();
    EXPECT_TRUE(at::equal(held, first.to(type)));
    copy_to(held, second, at::TensorOptions(type));
    EXPECT_EQ(held.const_data_ptr(), memory);
    EXPECT_TRUE(at::equal(held, second.to(type)));
    EXPECT_TRUE(held.is_contiguous(at::MemoryFormat::ChannelsLast));
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

TEST(GradientEngine, EveryNetworkHasTheFastestEngineThereIsForIt) {
  const auto network = make_network({.channels = 2}, {1, 8, 8}, 2);
  const auto name = [&](Precision precision) {
    return make_gradient_engine(*network, {.channels = 2}, precision, cpu)->description();
  };
  EXPECT_EQ(name(Precision::float32), "Winograd float32");
  const std::string tiles =
      instruction_set() == InstructionSet::amx ? "AMX tiles bfloat16" : "tiles by vectors bfloat16";
  EXPECT_EQ(name(Precision::bfloat16), tiles);
  const EnergyConfig resnet{.type = EnergyType::resnet, .channels = 2},
      mlp{.type = EnergyType::mlp};
  const auto name_of = [&](const EnergyConfig& config, Precision precision) {
    const auto other = make_network(config, {1, 8, 8}, 2);
    return make_gradient_engine(*other, config, precision, cpu)->description();
  };
  EXPECT_EQ(name_of(resnet, Precision::float32), "Winograd float32");
  EXPECT_EQ(name_of(resnet, Precision::bfloat16), tiles);
  EXPECT_EQ(name_of(mlp, Precision::float32), "layer by layer float32");
  using enum Precision;
  EXPECT_EQ(resolve_precision(float32, EnergyType::convnet, cpu), float32);
  EXPECT_EQ(resolve_precision(bfloat16, EnergyType::mlp, cpu), bfloat16);
  EXPECT_NE(resolve_precision(automatic, EnergyType::convnet, cpu), automatic);
  const at::Device a_gpu(at::kCUDA, 0);
  EXPECT_EQ(resolve_precision(automatic, EnergyType::resnet, a_gpu), bfloat16);
  for (const EnergyType type : {EnergyType::mlp, EnergyType::torchscript}) {
    EXPECT_EQ(resolve_precision(automatic, type, a_gpu), float32);
    EXPECT_EQ(resolve_precision(automatic, type, cpu), float32);
  }
}

TEST(GradientEngine, AStateHasTheSameBitsAloneAndInAnyBatch) {
  for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
    for (const EngineCase& one : {EngineCase{{1, 32, 32}, 16, 64, Activation::silu},
                                  EngineCase{{3, 9, 14}, 8, 64, Activation::leaky_relu},
                                  EngineCase{{3, 9, 14}, 8, 64, Activation::silu, 2}}) {
      const auto network = network_of(one);
      const auto engine = own(*network, config_of(one), precision, cpu);
      ASSERT_TRUE(engine->batch_invariant());
      engine->load(network->parameter_values());
      const at::Tensor all = states(64, one.shape);
      const Result expected = evaluate(*engine, all);
      // Five: each thread has a few states, or a few rows of a block.
      for (const int threads : {1, 2, 3, 5}) {
        const LoopThreads these(threads);
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
}

TEST(GradientEngine, ANeighbourThatIsNotANumberChangesNothing) {
  const EngineCase convnet{{1, 9, 9}, 4, 9, Activation::silu};
  const EngineCase resnet{{1, 9, 9}, 4, 9, Activation::silu, 2};
  for (const auto& [one, precision] :
       {std::pair{convnet, Precision::float32}, std::pair{convnet, Precision::bfloat16},
        std::pair{resnet, Precision::float32}, std::pair{resnet, Precision::bfloat16}}) {
    const auto network = network_of(one);
    const auto engine = own(*network, config_of(one), precision, cpu);
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
  const EngineCase one{{1, 9, 9}, 4, 8, Activation::silu};
  std::vector<std::pair<std::unique_ptr<GradientEngine>, std::unique_ptr<Network>>> result;
  for (const MakeEngine make : {own, layerwise, autograd}) {
    for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
      auto network = network_of(one);
      auto engine = make(*network, config_of(one), precision, cpu);
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

TEST(GpuArithmetic, CublasMustRepeatItsBits) {
  ::setenv(cublas_workspace, ":0:0", 1);
  try {
    choose_gpu_arithmetic();
    ADD_FAILURE() << "was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ExitCode::environment);
    EXPECT_NE(std::string(error.what()).find("CUBLAS_WORKSPACE_CONFIG is ':0:0'"),
              std::string::npos)
        << error.what();
  }
  // The user's own value stays where it will do.
  ::setenv(cublas_workspace, ":16:8", 1);
  choose_gpu_arithmetic();
  EXPECT_STREQ(std::getenv(cublas_workspace), ":16:8");
  ::unsetenv(cublas_workspace);
  choose_gpu_arithmetic();
  EXPECT_STREQ(std::getenv(cublas_workspace), ":4096:8");
  EXPECT_TRUE(at::globalContext().deterministicAlgorithms());
  EXPECT_FALSE(at::globalContext().deterministicAlgorithmsWarnOnly());
  EXPECT_FALSE(at::globalContext().deterministicFillUninitializedMemory());
  at::globalContext().setDeterministicAlgorithms(false, false);
}

/// Where there is a GPU.
class GpuGradientEngine : public testing::Test {
 protected:
  void SetUp() override {
    if (at::getNumGPUs() == 0) GTEST_SKIP() << "no GPU";
    choose_gpu_arithmetic();
  }
};

TEST_F(GpuGradientEngine, ConvnetFloat32IsExactButForRounding) {
  expect_within_rounding(own, Precision::float32, gpu);
}
TEST_F(GpuGradientEngine, ConvnetBfloat16IsExactButForRounding) {
  expect_within_rounding(own, Precision::bfloat16, gpu);
}
TEST_F(GpuGradientEngine, ResnetFloat32IsExactButForRounding) {
  expect_resnet_within_rounding(own, Precision::float32, 2e-3, gpu);
}
TEST_F(GpuGradientEngine, ResnetBfloat16IsExactButForRounding) {
  expect_resnet_within_rounding(own, Precision::bfloat16, 0.3, gpu);
}
TEST_F(GpuGradientEngine, MlpIsExactButForRounding) { expect_mlps_within_rounding(gpu); }

TEST_F(GpuGradientEngine, RepeatsItsBits) {
  for (const EngineCase& one : {EngineCase{{3, 32, 32}, 32, 128, Activation::silu},
                                EngineCase{{3, 32, 32}, 16, 64, Activation::silu, 2}}) {
    for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
      const auto network = network_of(one);
      const auto engine = own(*network, config_of(one), precision, gpu),
                 other = own(*network, config_of(one), precision, gpu);
      engine->load(network->parameter_values());
      other->load(network->parameter_values());
      const at::Tensor state = states(one.batch, one.shape);
      const Result first = evaluate(*engine, state, gpu);
      for (GradientEngine* again : {engine.get(), other.get()}) {
        const Result found = evaluate(*again, state, gpu);
        EXPECT_TRUE(at::equal(found.gradient, first.gradient));
        EXPECT_TRUE(at::equal(found.energy, first.energy));
      }
    }
  }
}

}  // namespace
}  // namespace stanley
