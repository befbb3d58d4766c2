#include "train/denoising.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <memory>

#include "energy/network.hpp"
#include "engines/factory.hpp"

namespace stanley {
namespace {

Config denoising_config() {
  Config config;
  config.energy.type = EnergyType::mlp;
  config.energy.hidden = {7, 5};
  config.data.noise = 0.1;
  config.data.batch = 6;
  config.chains.active = 6;
  config.sampler.noise = 0.05;
  config.sampler.step_size = 0.5;  // T = 0.005
  config.objective.denoising = 3;
  config.objective.denoising_noise = 0.4;
  return config;
}

NoisedSamples six_samples(const DenoisingTerm& term) {
  const at::Tensor clean = at::cos(at::arange(12, at::kFloat) * 1.3).view({6, 2});
  const at::Tensor noise = at::sin(at::arange(12, at::kFloat) * 2.1).view({6, 2}) * 0.3;
  return {clean, clean + noise, term.deviations(0, 6)};
}

TEST(Denoising, DeviationsGoInEqualRatiosFromTheDatasNoise) {
  const DenoisingTerm term(denoising_config());
  const std::vector<double> all = term.deviations(0, 6);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_NEAR(all[i], 0.1 * std::pow(4.0, (static_cast<double>(i) + 0.5) / 6), 1e-12);
  }
  // A rank's part of the batch has those of its positions.
  EXPECT_EQ(term.deviations(4, 2), std::vector<double>(all.begin() + 4, all.end()));
}

/// An energy under the configuration above, as the engine computes it.
struct SmallEnergy {
  Config config = denoising_config();
  std::unique_ptr<Network> network = make_network(config.energy, {2}, 4);
  std::unique_ptr<GradientEngine> engine =
      make_gradient_engine(*network, config.energy, Precision::float32, at::kCPU);
  SmallEnergy() { engine->load(network->weights(network->parameter_values())); }
};

/// The term as its definition says, with second derivatives by autograd in double precision.
at::Tensor slow_term(const Config& config, const Network& network,
                     const std::vector<at::Tensor>& weights, const NoisedSamples& samples) {
  const double temperature = config.sampler.temperature_value(), noise = config.data.noise;
  at::Tensor state = samples.noised.to(at::kDouble).set_requires_grad(true);
  const at::Tensor energy = network.forward(state, weights).sum();
  const at::Tensor gradient = torch::autograd::grad({energy}, {state}, {}, true, true).front();
  const at::Tensor residual =
      noise * gradient / temperature - (samples.noised - samples.clean).to(at::kDouble) / noise;
  const at::Tensor share = (noise / at::tensor(samples.deviations, at::kDouble)).square();
  return config.objective.denoising * temperature / 2 * (share * residual.square().sum(1)).sum() /
         static_cast<double>(config.data.batch);
}

TEST(Denoising, PairsHaveTheGradientOfTheTerm) {
  const SmallEnergy energy;
  const DenoisingTerm term(energy.config);
  const NoisedSamples samples = six_samples(term);
  NoiseSquares squares;
  const WeightedStates pairs = term.pairs(*energy.engine, samples, {.most = 4}, squares);
  EXPECT_EQ(pairs.states.sizes(), at::IntArrayRef({12, 2}));

  std::vector<at::Tensor> weights;
  for (const at::Tensor& value : energy.network->parameter_values()) {
    weights.push_back(value.detach().to(at::kDouble).set_requires_grad(true));
  }
  const auto flat = [&](const at::Tensor& of) {
    std::vector<at::Tensor> parts;
    const auto gradients = torch::autograd::grad({of}, weights, {}, true, false, true);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      parts.push_back(gradients[i].defined() ? gradients[i].flatten()
                                             : at::zeros_like(weights[i]).flatten());
    }
    return at::cat(parts);
  };
  const at::Tensor expected = flat(slow_term(energy.config, *energy.network, weights, samples));
  const at::Tensor energies =
      energy.network->forward(pairs.states.to(at::kDouble), weights).to(at::kDouble);
  const at::Tensor found = flat((energies * pairs.factors.to(at::kDouble)).sum());
  // Energies of the network are of order 1, differences over 2·0.028 are of float32 energies here.
  EXPECT_LT((found - expected).norm().item<double>(), 3e-3 * expected.norm().item<double>());
  EXPECT_GT(expected.norm().item<double>(), 0.01);
}

TEST(Denoising, CountsWhatTweediesStepLeaves) {
  const SmallEnergy energy;
  const DenoisingTerm term(energy.config);
  const NoisedSamples samples = six_samples(term);
  NoiseSquares squares;
  term.pairs(*energy.engine, samples, {.most = 6}, squares);
  const at::Tensor step =
      gradients_of(*energy.engine, samples.noised, {.most = 6}) * (0.1 * 0.1 / 0.005);  // σ_d²/T
  double before = 0, left = 0;
  for (std::int64_t i = 0; i < 6; ++i) {
    const double variance = std::pow(samples.deviations[static_cast<std::size_t>(i)], 2);
    const at::Tensor noise = samples.noised[i] - samples.clean[i];
    before += noise.square().sum().item<double>() / variance;
    left += (noise - step[i]).square().sum().item<double>() / variance;
  }
  EXPECT_NEAR(squares.before, before, 1e-5 * before);
  EXPECT_NEAR(squares.left, left, 1e-5 * left);
}

}  // namespace
}  // namespace stanley
