#include "sampling/denoiser.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "parallel/communicator.hpp"

namespace stanley {
namespace {

/// E = ‖x‖²/2.
class Bowl final : public GradientEngine {
 public:
  void load(const std::vector<at::Tensor>&) override {}
  void evaluate(const Points& points, at::Tensor& energy, at::Tensor* gradient) override {
    energy.copy_(points.state.to(at::kDouble).square().sum(1) / 2);
    if (gradient != nullptr) gradient->copy_(points.state);
  }
  double energy_error() const override { return 1e-7; }
  bool batch_invariant() const override { return true; }
  std::string description() const override { return "a bowl"; }
};

Config bowl_config(double noise) {
  Config config;
  config.data.type = DataType::eight_gaussians;
  config.data.samples = 4000;
  config.data.range = {-1, 1};
  config.data.noise = noise;
  config.sampler.type = TransitionType::langevin;
  config.sampler.step_size = 0.2;
  config.sampler.box = std::nullopt;
  config.sampler.noise = std::nullopt;
  config.sampler.temperature = 1;
  return config;
}

Dataset samples_of(const Config& config) {
  return Dataset::load(config.data, config.run.seed, *make_local_communicator());
}

/// Mean square of the data's elements.
double second_moment(const Dataset& data) {
  at::Tensor x = at::empty({data.size(), 2}, at::kFloat);
  for (std::int64_t i = 0; i < data.size(); ++i) {
    data.copy_sample(i, x.mutable_data_ptr<float>() + 2 * i);
  }
  return x.to(at::kDouble).square().mean().item<double>();
}

TEST(Denoiser, FitsTheStepThatTheLeastSquaresGive) {
  Config config = bowl_config(0.0);
  const Dataset data = samples_of(config);
  const double m = second_moment(data), noise = 3 * std::sqrt(m);
  config.data.noise = noise;
  config.sampler.temperature = 2;
  Bowl bowl;
  const FittedStep step = fit_step(bowl, data, config, 1000, at::kCPU);
  // ⟨noise, x̃⟩/⟨x̃, x̃⟩ → σ²/(m + σ²) = 0.9 over 2,048 elements, to 2/√2048 of 0.1 or so.
  EXPECT_NEAR(step.factor, 0.9, 0.02);
  EXPECT_NEAR(step.removed, 0.9, 0.02);
  EXPECT_DOUBLE_EQ(step.tweedie, noise * noise / 2);
  EXPECT_NEAR(step.score, noise * std::sqrt(m + noise * noise) / 2, 0.05 * step.score);
  // Pieces have no part in it.
  EXPECT_NEAR(fit_step(bowl, data, config, 7, at::kCPU).factor, step.factor, 1e-12);

  config.samples.denoise.fitted = true;
  Denoiser denoiser(config);
  EXPECT_EQ(denoiser.fit(bowl, data, 1000, at::kCPU), std::nullopt);
  ChainBatch batch{at::full({3, 2}, 2.0F), at::arange(3, at::kLong)};
  denoiser.apply(bowl, batch);
  EXPECT_NEAR(batch.state[2][1].item<double>(), 2 * (1 - step.factor), 1e-6);
  EXPECT_NE(denoiser.text().find("not Tweedie's"), std::string::npos);
}

TEST(Denoiser, AStepOfNoUseIsRefused) {
  Config config = bowl_config(0.001);
  config.samples.denoise.fitted = true;
  const Dataset data = samples_of(config);
  Bowl bowl;
  Denoiser denoiser(config);
  const auto refused = denoiser.fit(bowl, data, 1000, at::kCPU);
  ASSERT_TRUE(refused.has_value());
  EXPECT_NE(refused->find("less than 20 %"), std::string::npos) << *refused;
  EXPECT_EQ(denoiser.text(), "");
  ChainBatch batch{at::full({3, 2}, 2.0F), at::arange(3, at::kLong)};
  denoiser.apply(bowl, batch);
  EXPECT_TRUE((batch.state == 2).all().item<bool>());
}

TEST(Denoiser, NoiseFreeStepsAreThoseOfTheTransition) {
  Config config = bowl_config(0.03);
  config.samples.denoise.steps = 4;
  Bowl bowl;
  const Denoiser denoiser(config);
  ChainBatch batch{at::full({3, 2}, 2.0F), at::arange(3, at::kLong)};
  denoiser.apply(bowl, batch);
  EXPECT_NEAR(batch.state[1][0].item<double>(), 2 * std::pow(0.9, 4), 1e-6);
  EXPECT_EQ(denoiser.text(), "4 noise-free steps");
}

}  // namespace
}  // namespace stanley
