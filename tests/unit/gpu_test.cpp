#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <tuple>

#include "energy/gradient_engine.hpp"
#include "engines/factory.hpp"
#include "engines/gpu_arithmetic.hpp"
#include "engines/torch_layer.hpp"
#include "kernels/fused_elementwise.hpp"
#include "sampler/device_update.hpp"
#include "sampler/transition.hpp"

/// Kernels and recorded graphs where there is a GPU, against the same work on the host.
namespace stanley {
namespace {

constexpr at::DeviceType cuda = at::kCUDA;

class Gpu : public testing::Test {
 protected:
  void SetUp() override {
    if (at::getNumGPUs() == 0) GTEST_SKIP() << "no GPU";
    choose_gpu_arithmetic();
  }
};

/// n chains of d elements, uniform in [−2, 2], with ids that are no row numbers.
ChainBatch chains(std::int64_t n, std::vector<std::int64_t> shape) {
  shape.insert(shape.begin(), n);
  ChainBatch batch{at::empty(shape), at::arange(n, at::kLong) * 5 + 3};
  fill_uniform({.seed = 2, .stream = random::Stream::start_state}, 0, -2, 2, batch);
  return batch;
}

ChainBatch on_gpu(const ChainBatch& batch) { return {batch.state.to(cuda), batch.ids.to(cuda)}; }

at::Tensor normals(const std::vector<std::int64_t>& shape, std::uint64_t step) {
  ChainBatch batch = chains(shape[0], {shape.begin() + 1, shape.end()});
  fill_normal({.seed = 4}, step, 1.5F, batch);
  return batch.state;
}

/// The same bits, but for those of a NaN.
bool same_bits(const at::Tensor& on_device, const at::Tensor& expected) {
  const auto bits = [](const at::Tensor& values) {
    return at::nan_to_num(values.cpu(), 12345.0).view(at::kInt);
  };
  return at::equal(on_device.cpu().isnan(), expected.isnan()) &&
         at::equal(bits(on_device), bits(expected));
}

// Rows of whole quads and others; more chains than a grid has rows.
const std::tuple<std::int64_t, std::int64_t> sizes[] = {
    {1, 1}, {3, 4}, {5, 7}, {64, 1024}, {2, 1027}, {9, 3072}, {70001, 3}, {0, 8}};

TEST_F(Gpu, RandomFieldsHaveTheBitsOfTheHost) {
  for (const auto& [n, d] : sizes) {
    ChainBatch batch = chains(n, {d}), there = on_gpu(batch);
    const std::uint64_t step = (std::uint64_t{5} << 32) + 8;
    fill_normal({.seed = 7}, step, 0.3F, batch);
    fill_normal({.seed = 7}, step, 0.3F, there);
    EXPECT_TRUE(same_bits(there.state, batch.state)) << n << " x " << d;
    fill_uniform({.seed = 8}, step, -0.7F, 3.1F, batch);
    fill_uniform({.seed = 8}, step, -0.7F, 3.1F, there);
    EXPECT_TRUE(same_bits(there.state, batch.state)) << n << " x " << d;
  }
}

TEST_F(Gpu, UpdatesHaveTheBitsOfTheHost) {
  enum { free, langevin, gain, threshold, kinds };
  for (const auto& [n, d] : sizes) {
    for (int kind = free; kind < kinds; ++kind) {
      for (const float sigma : {0.0F, 0.4F}) {
        Update update{.half_step = 0.5F, .sigma = sigma, .low = -1, .high = 1, .key = {.seed = 9}};
        update.step = 11;
        const at::Tensor gradients = kind == free ? at::Tensor() : normals({n, d}, 1);
        const at::Tensor gains = kind == gain ? normals({n, d}, 2).abs() : at::Tensor();
        at::Tensor thresholds;
        if (kind == threshold) {
          thresholds = normals({n, 1}, 3).abs().view({n});
          if (n > 1) thresholds[1].fill_(0);
        }
        ChainBatch batch = chains(n, {d}), there = on_gpu(batch);
        if (kind == langevin && n > 2) gradients[2].fill_(std::nanf(""));
        const auto moved = [](const at::Tensor& tensor) {
          return tensor.defined() ? tensor.to(cuda) : tensor;
        };
        const bool summed = kind != free;
        const at::Tensor sums = summed ? thermometer_sums_for(batch.state) : at::Tensor(),
                         sums_there = summed ? thermometer_sums_for(there.state) : at::Tensor();
        update_states(update, batch, gradients, gains, thresholds, sums);
        const at::Tensor first_step = at::full({1}, 4, batch.ids.options()).to(cuda);
        update.step = 7;
        update.first_step = first_step.const_data_ptr<std::int64_t>();
        update_states(update, there, moved(gradients), moved(gains), moved(thresholds), sums_there);
        EXPECT_TRUE(same_bits(there.state, batch.state)) << n << " x " << d << ", kind " << kind;
        if (!summed) continue;
        EXPECT_TRUE(at::allclose(sums_there.sum(1).cpu(), sums.sum(1), 1e-5,
                                 1e-6 * static_cast<double>(d), /*equal_nan=*/true))
            << n << " x " << d << ", kind " << kind;
      }
    }
  }
}

TEST_F(Gpu, OrderStatisticsAreThoseOfTheHost) {
  for (const auto& [n, d] : {std::tuple{1, 1}, {3, 4}, {64, 1024}, {7, 3072}, {3, 5000}}) {
    at::Tensor values = normals({n, d}, 1);
    if (n > 1) values[1].fill_(0.25);
    for (const double q : {0.1, 0.5, 0.9, 1.0}) {
      const std::int64_t k = quantile_rank(q, d);
      EXPECT_TRUE(same_bits(absolute_order_statistic(values.to(cuda), k),
                            absolute_order_statistic(values, k)));
    }
  }
}

/// Within two roundings to the type of the exact value, and eight of float32 inside.
void expect_near(const at::Tensor& found, const at::Tensor& exact, const at::Tensor& scale) {
  const double rounding = found.scalar_type() == at::kBFloat16 ? 0x1p-8 : 0x1p-24;
  const at::Tensor error = (found.cpu().to(at::kDouble) - exact).abs();
  EXPECT_LE((error / scale).max().item<double>(), 2 * rounding + 8 * 0x1p-23);
}

at::Tensor images(std::vector<std::int64_t> shape, std::uint64_t step, at::ScalarType type) {
  return normals(shape, step).to(type).contiguous(at::MemoryFormat::ChannelsLast);
}

/// f and f′ in double precision.
std::pair<at::Tensor, at::Tensor> activated(const EnergyConfig& config, const at::Tensor& z) {
  if (config.activation == Activation::leaky_relu) {
    const at::Tensor slope = at::where(z > 0, 1.0, static_cast<double>(0.2F));
    return {z * slope, slope};
  }
  const at::Tensor s = at::sigmoid(z);
  return {z * s, s + z * s * (1 - s)};
}

TEST_F(Gpu, ActivatesInOnePass) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const Activation activation : {Activation::silu, Activation::leaky_relu}) {
      for (const std::vector<std::int64_t>& shape :
           {std::vector<std::int64_t>{1, 5, 1, 1}, {7, 3, 5, 4}, {16, 64, 9, 8}}) {
        for (const bool keeps : {false, true}) {
          const EnergyConfig config{.activation = activation, .slope = 0.2};
          const at::Tensor z = images(shape, 1, type), skip = images(shape, 2, type);
          const at::Tensor bias = normals({1, shape[1]}, 3).view({shape[1]});
          const at::Tensor there = z.clone().to(cuda), derivative = at::empty_like(there);
          const at::Tensor value = keeps ? at::empty_like(there) : at::Tensor();
          add_and_activate(config, bias.to(cuda), skip.to(cuda), there, value, derivative);
          const at::Tensor terms[] = {z.to(at::kDouble), bias.to(at::kDouble).view({1, -1, 1, 1}),
                                      skip.to(at::kDouble)};
          const at::Tensor sum = terms[0] + terms[1] + terms[2];
          const at::Tensor scale = terms[0].abs() + terms[1].abs() + terms[2].abs();
          const auto [f, slope] = activated(config, sum);
          if (keeps) expect_near(there, sum, scale);
          expect_near(keeps ? value : there, f, 2 * scale);
          // Where the sum may be rounded across 0, the leaky ReLU's derivative jumps.
          const at::Tensor sure = activation == Activation::silu
                                      ? at::ones_like(sum)
                                      : (sum.abs() > 0.01 * scale).to(at::kDouble);
          expect_near(derivative.cpu() * sure.to(type), slope * sure, 1.1 + scale);
        }
      }
    }
  }
}

TEST_F(Gpu, MultipliesAndAddsInOnePass) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const std::vector<std::int64_t>& shape :
         {std::vector<std::int64_t>{1, 5, 1, 1}, {7, 3, 5, 4}, {16, 64, 9, 8}, {2, 8, 7, 33}}) {
      for (const Skip kind : {Skip::none, Skip::same, Skip::halved}) {
        if (kind == Skip::halved && shape[2] < 2) continue;
        std::vector<std::int64_t> of_skip = shape;
        if (kind == Skip::halved) {
          of_skip[2] /= 2;
          of_skip[3] /= 2;
        }
        const at::Tensor gradient = images(shape, 1, type), derivative = images(shape, 2, type);
        const at::Tensor skip = kind == Skip::none ? at::Tensor() : images(of_skip, 3, type);
        const at::Tensor there = gradient.clone().to(cuda);
        multiply_and_add(there, derivative.to(cuda), skip.defined() ? skip.to(cuda) : skip);
        const at::Tensor product = gradient.to(at::kDouble) * derivative.to(at::kDouble);
        at::Tensor added = at::zeros_like(product);
        if (kind == Skip::same) added = skip.to(at::kDouble);
        if (kind == Skip::halved) {
          // The last row and the last column of an odd size are in no square.
          added.narrow(2, 0, 2 * of_skip[2])
              .narrow(3, 0, 2 * of_skip[3])
              .copy_(at::kron(skip.to(at::kDouble).contiguous(),
                              at::full({1, 1, 2, 2}, 0.25, at::kDouble)));
        }
        expect_near(there, product + added, product.abs() + added.abs() + 1e-30);
      }
    }
  }
}

/// An engine as it is, but without the promise that lets its work be recorded.
class Unrecorded : public GradientEngine {
 public:
  explicit Unrecorded(GradientEngine& engine) : engine_(engine) {}
  void load(const std::vector<at::Tensor>& weights) override { engine_.load(weights); }
  void evaluate(const Points& points, at::Tensor& energy, at::Tensor* gradient) override {
    engine_.evaluate(points, energy, gradient);
  }
  double energy_error() const override { return engine_.energy_error(); }
  bool batch_invariant() const override { return engine_.batch_invariant(); }
  std::string description() const override { return engine_.description(); }

 private:
  GradientEngine& engine_;
};

/// Over several calls: the first is called, the second recorded, the others played, with weights
/// that change between them.
TEST_F(Gpu, RecordedStepsHaveTheBitsOfOthers) {
  for (const EnergyType type : {EnergyType::convnet, EnergyType::resnet, EnergyType::mlp}) {
    for (const TransitionType of : {TransitionType::stanley, TransitionType::langevin}) {
      for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
        const EnergyConfig config{.type = type, .channels = 8, .hidden = {32, 32}};
        const StateShape shape{3, 16, 16};
        const auto network = make_network(config, shape, 11);
        const auto engine = make_gradient_engine(*network, config, precision, cuda);
        Unrecorded unrecorded(*engine);
        ASSERT_TRUE(engine->repeatable());
        const SamplerConfig sampler{.type = of, .step_size = 0.3, .noise = 0.1};
        const auto expected = make_transition(sampler, {.seed = 3}),
                   transition = make_transition(sampler, {.seed = 3});
        ChainBatch batch = on_gpu(chains(16, shape)), recorded = on_gpu(chains(16, shape));
        for (std::uint64_t step = 0; step < 40; step += 8) {
          engine->load(network->weights(network->parameter_values()));
          const at::Tensor plain = expected->advance(unrecorded, batch, step, 8);
          const at::Tensor played = transition->advance(*engine, recorded, step, 8);
          EXPECT_TRUE(at::equal(recorded.state, batch.state)) << "from step " << step;
          EXPECT_TRUE(same_bits(played, plain.cpu())) << "from step " << step;
          const c10::NoGradGuard no_gradient;
          for (NamedTensor& parameter : network->parameters()) parameter.value.mul_(0.95);
        }
        EXPECT_TRUE(batch.state.isfinite().all().item<bool>());
      }
    }
  }
}

}  // namespace
}  // namespace stanley
