#include "chains/start_states.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "config/error.hpp"
#include "storage/hdf5.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;

// Statistical tests: fixed seeds, false alarm 1e-5 for each comparison.

Config config_of(StartType type) {
  Config config;
  config.data.type = DataType::eight_gaussians;
  config.data.samples = 500;
  config.chains.start = type;
  return config;
}

Dataset load(const Config& config) {
  const auto local = make_local_communicator();
  return Dataset::load(config.data, config.run.seed, *local);
}

at::Tensor starts(const Config& config, const Dataset& data, std::int64_t n,
                  std::int64_t iteration = 0, std::int64_t first_id = 0) {
  std::vector<std::int64_t> shape{n};
  shape.insert(shape.end(), data.shape().begin(), data.shape().end());
  ChainBatch batch{at::full(shape, 99.0F), at::arange(first_id, first_id + n, at::kLong)};
  make_start_state(config, data, 0)(batch, iteration);
  return batch.state;
}

TEST(StartStates, AMixtureHasItsShares) {
  Config config = config_of(StartType::uniform);
  const Dataset data = load(config);
  const at::Tensor uniform = starts(config, data, 4000, 7);
  config.chains.start = StartType::data;
  const at::Tensor of_data = starts(config, data, 4000, 7);
  config.chains.start = StartMixture({{StartType::uniform, 0.25}, {StartType::data, 0.75}});
  const at::Tensor mixed = starts(config, data, 4000, 7);
  // Each chain's state is what its law alone would have given it.
  const at::Tensor is_uniform = (mixed == uniform).all(1), is_data = (mixed == of_data).all(1);
  EXPECT_TRUE((is_uniform | is_data).all().item<bool>());
  EXPECT_NEAR(is_uniform.to(at::kDouble).mean().item<double>(), 0.25,
              4.42 * std::sqrt(0.25 * 0.75 / 4000));
  // Neither the others of the batch nor the rank matter, and the next time is another one.
  EXPECT_TRUE(at::equal(starts(config, data, 100, 7, 300), mixed.narrow(0, 300, 100)));
  EXPECT_FALSE(at::equal((starts(config, data, 4000, 8) == uniform).all(1), is_uniform));
}

TEST(StartStates, UniformFillsTheBox) {
  Config config = config_of(StartType::uniform);
  config.sampler.box = {{-0.5, 2.0}};
  const Dataset data = load(config);
  const at::Tensor x = starts(config, data, 20000);
  EXPECT_GE(x.min().item<double>(), -0.5);
  EXPECT_LE(x.max().item<double>(), 2.0);
  // 40,000 numbers: mean 0.75, variance 2.5²/12, of whose estimate the standard deviation is
  // 2.5²/√(180 n).
  EXPECT_NEAR(x.mean().item<double>(), 0.75, 4.42 * 2.5 / std::sqrt(12 * 40000.0));
  EXPECT_NEAR(x.to(at::kDouble).var().item<double>(), 6.25 / 12,
              4.42 * 6.25 / std::sqrt(180 * 40000.0));
  config.sampler.box = std::nullopt;
  config.data.range = {3, 4};
  const at::Tensor in_range = starts(config, data, 100);
  EXPECT_GE(in_range.min().item<double>(), 3);
  EXPECT_LE(in_range.max().item<double>(), 4);
}

TEST(StartStates, NormalIsProjected) {
  Config config = config_of(StartType::normal);
  config.sampler.box = std::nullopt;
  const Dataset data = load(config);
  const at::Tensor free = starts(config, data, 20000);
  EXPECT_NEAR(free.mean().item<double>(), 0, 4.42 / std::sqrt(40000.0));
  EXPECT_NEAR(free.to(at::kDouble).var().item<double>(), 1, 4.42 * std::sqrt(2 / 40000.0));
  config.sampler.box = {{-1.0, 0.5}};
  EXPECT_TRUE(at::equal(starts(config, data, 20000), free.clamp(-1.0, 0.5)));
}

TEST(StartStates, DataStartsAreSamples) {
  Config config = config_of(StartType::data);
  config.sampler.box = std::nullopt;
  const Dataset data = load(config);
  std::set<std::pair<float, float>> samples, used;
  for (std::int64_t i = 0; i < data.size(); ++i) {
    float out[2];
    data.copy_sample(i, out);
    samples.emplace(out[0], out[1]);
  }
  const at::Tensor x = starts(config, data, 2000);
  for (std::int64_t i = 0; i < 2000; ++i) {
    used.emplace(x[i][0].item<float>(), x[i][1].item<float>());
  }
  for (const auto& one : used) EXPECT_EQ(samples.count(one), 1U);
  EXPECT_GT(used.size(), 450U);  // 491 of 500 expected
}

TEST(StartStates, TheGaussianHasTheMomentsOfTheData) {
  Config config = config_of(StartType::data_gaussian);
  config.data.type = DataType::checkerboard;
  config.sampler.box = std::nullopt;
  const Dataset data = load(config);
  at::Tensor samples = at::empty({data.size(), 2});
  for (std::int64_t i = 0; i < data.size(); ++i) {
    data.copy_sample(i, samples.mutable_data_ptr<float>() + 2 * i);
  }
  const auto moments = [](const at::Tensor& values) {
    const at::Tensor x = values.to(at::kDouble);
    const at::Tensor centred = x - x.mean(0);
    return std::pair(x.mean(0), centred.t().mm(centred) / static_cast<double>(x.size(0)));
  };
  constexpr double n = 20000;
  const auto [mean, covariance] = moments(samples);
  const auto [found_mean, found] = moments(starts(config, data, static_cast<std::int64_t>(n)));
  for (std::int64_t i = 0; i < 2; ++i) {
    const double variance = covariance[i][i].item<double>();
    EXPECT_NEAR(found_mean[i].item<double>(), mean[i].item<double>(),
                4.42 * std::sqrt(variance / n));
    EXPECT_NEAR(found[i][i].item<double>(), variance + 1e-4, 4.42 * variance * std::sqrt(2 / n));
  }
  const double both = (covariance[0][0] * covariance[1][1]).item<double>();
  const double cross = covariance[0][1].item<double>();
  EXPECT_NEAR(found[0][1].item<double>(), cross, 4.42 * std::sqrt((both + cross * cross) / n));
}

TEST(StartStates, PrincipalComponentsHaveTheLargestVarianceAlone) {
  Config config = config_of(StartType::data_gaussian);
  config.data.type = DataType::eight_gaussians;
  config.sampler.box = std::nullopt;
  config.chains.principal_components = 1;
  const Dataset data = load(config);
  at::Tensor samples = at::empty({data.size(), 2});
  for (std::int64_t i = 0; i < data.size(); ++i) {
    data.copy_sample(i, samples.mutable_data_ptr<float>() + 2 * i);
  }
  const at::Tensor mean = samples.mean(0), centred = (samples - mean).to(at::kDouble);
  const auto [variances, directions] =
      at::linalg_eigh(centred.t().mm(centred) / static_cast<double>(data.size()));
  constexpr std::int64_t n = 20000;
  const at::Tensor along = (starts(config, data, n) - mean).to(at::kDouble).mm(directions);
  const double variance = variances[1].item<double>();
  EXPECT_LT(along.select(1, 0).abs().max().item<double>(), 1e-5 * std::sqrt(variance));
  EXPECT_NEAR(along.select(1, 1).square().mean().item<double>(), variance,
              4.42 * variance * std::sqrt(2.0 / n));
  config.chains.principal_components = 2;  // all of them: the same as without
  const at::Tensor whole = starts(config, data, 50);
  config.chains.principal_components.reset();
  EXPECT_TRUE(at::equal(whole, starts(config, data, 50)));
}

/// A data file of images of 1 × side × side, half of them of each of two classes without names.
Dataset two_classes(Config& config, const std::vector<std::uint8_t>& images, std::int64_t side) {
  std::string directory = (fs::temp_directory_path() / "stanley-start-XXXXXX").string();
  EXPECT_NE(mkdtemp(directory.data()), nullptr);
  config.data.type = DataType::file;
  config.data.path = directory + "/images.h5";
  const std::int64_t count = static_cast<std::int64_t>(images.size()) / (side * side);
  std::vector<std::int64_t> labels(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<std::int64_t>(i % 2);
  auto file = hdf5::File::create(config.data.path);
  hdf5::make_dataset(file, "train/images", ElementType::uint8, {count, 1, side, side})
      .write_all(images.data());
  hdf5::make_dataset(file, "train/labels", ElementType::int64, {count}).write_all(labels.data());
  hdf5::write_attribute(hdf5::open_object(file, "/").id(), "schema_version", std::string("1.0"));
  file.close();
  Dataset data = load(config);
  fs::remove_all(directory);
  return data;
}

TEST(StartStates, TheGaussianIsOfOneClass) {
  Config config = config_of(StartType::data_gaussian);
  const Dataset data = two_classes(config, {51, 204, 51, 204, 51, 204}, 1);
  // The classes' Gaussians have the standard deviation 0.01 around −0.6 and 0.6.
  const at::Tensor x = starts(config, data, 1000);
  EXPECT_LT((x.abs() - 0.6).abs().max().item<double>(), 0.06);
  EXPECT_NEAR((x > 0).to(at::kDouble).sum().item<double>(), 500, 4.42 * std::sqrt(250.0));
}

TEST(StartStates, TheGaussiansNumbersDependOnNoOtherChainNorOnThreads) {
  Config config = config_of(StartType::data_gaussian);
  constexpr std::int64_t side = 9;  // of 81 elements, no whole number of vectors
  std::vector<std::uint8_t> images(40 * side * side);
  for (std::size_t i = 0; i < images.size(); ++i) {
    images[i] = static_cast<std::uint8_t>(i * 7919 >> 3);
  }
  const Dataset data = two_classes(config, images, side);
  const int threads = omp_get_max_threads();
  omp_set_num_threads(3);
  const at::Tensor all = starts(config, data, 400);
  omp_set_num_threads(1);
  for (const std::int64_t size : {1, 7, 57, 200}) {
    for (std::int64_t first = 0; first + size <= 400; first += std::max<std::int64_t>(size, 40)) {
      EXPECT_TRUE(at::equal(starts(config, data, size, 0, first), all.narrow(0, first, size)));
    }
  }
  omp_set_num_threads(threads);
}

TEST(StartStates, GaussiansAreFittedForTheFirstChainThatStarts) {
  Config config = config_of(StartType::data_gaussian);
  const Dataset data = two_classes(config, {51, 204, 51, 204, 51, 204}, 1);
  int told = 0;
  const StartState start = make_start_state(config, data, 0, [&] { ++told; });
  EXPECT_EQ(told, 0);
  ChainBatch batch{at::zeros({5, 1, 1, 1}), at::arange(5, at::kLong)};
  start(batch, 0);
  EXPECT_EQ(told, 3);  // two classes and a batch
  start(batch, 1);
  EXPECT_EQ(told, 4);
}

TEST(StartStates, DependOnChainAndIterationAlone) {
  for (const StartType type :
       {StartType::uniform, StartType::normal, StartType::data, StartType::data_gaussian}) {
    const Config config = config_of(type);
    const Dataset data = load(config);
    const at::Tensor all = starts(config, data, 40);
    EXPECT_TRUE(at::equal(starts(config, data, 15, 0, 20), all.narrow(0, 20, 15)));
    EXPECT_FALSE(at::equal(starts(config, data, 40, 1), all));
    EXPECT_FALSE(at::equal(all[0], all[1]));
  }
}

TEST(StartStates, ABankHasNone) {
  const Config config = config_of(StartType::bank);
  const Dataset data = load(config);
  EXPECT_THROW(starts(config, data, 1), Error);
}

}  // namespace
}  // namespace stanley
