#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numbers>
#include <numeric>
#include <set>

#include "data/batches.hpp"
#include "data/dataset.hpp"
#include "data/synthetic.hpp"
#include "storage/hdf5.hpp"
#include "temporary_directory.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;

// Statistical tests: fixed seed; the false alarm is the probability that right code fails with a
// seed at random, 1e-5 or less for each comparison.

constexpr DataType synthetic_types[] = {DataType::eight_gaussians, DataType::pinwheel,
                                        DataType::checkerboard, DataType::rings};

std::array<double, 2> sample(DataType type, std::int64_t index, std::uint32_t seed = 1) {
  float out[2];
  synthetic_sample(type, seed, index, out);
  return {static_cast<double>(out[0]), static_cast<double>(out[1])};
}

TEST(DataSynthetic, IsCentredAndInsideTheSquare) {
  constexpr std::int64_t n = 20000;
  for (const DataType type : synthetic_types) {
    double sum[2] = {}, squares[2] = {}, product = 0;
    std::int64_t outside = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      const auto [x, y] = sample(type, i);
      sum[0] += x, sum[1] += y, squares[0] += x * x, squares[1] += y * y, product += x * y;
      if (std::abs(x) > 1 || std::abs(y) > 1) ++outside;
    }
    // All four have a rotation of order 4 or 5, or a point symmetry: mean 0. The checkerboard
    // apart, the covariance is a multiple of the identity.
    for (int i = 0; i < 2; ++i) EXPECT_LT(std::abs(sum[i]), 4.42 * std::sqrt(squares[i]));
    if (type != DataType::checkerboard) {
      EXPECT_NEAR(squares[0] / n, squares[1] / n, 4.42 * std::sqrt(2.0 / n) * squares[0] / n);
      EXPECT_LT(std::abs(product), 4.42 * std::sqrt(squares[0] * squares[1] / n));
    }
    EXPECT_LT(outside, n / 1000) << to_string(type);
    EXPECT_GT(squares[0] / n, 0.05);
  }
}

TEST(DataSynthetic, ShapesAreTheirs) {
  std::array<int, 8> modes{};
  std::array<int, 3> circles{};
  std::set<std::pair<int, int>> squares;
  constexpr int n = 8000;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto [x, y] = sample(DataType::eight_gaussians, i);
    const double turn = std::atan2(y, x) / (std::numbers::pi / 4);
    ++modes[static_cast<std::size_t>(std::lround(turn) + 8) % 8];
    EXPECT_LT(std::abs(std::hypot(x, y) - 0.75), 6 * 0.04);
    const auto [u, v] = sample(DataType::rings, i);
    const double ring = std::hypot(u, v) / 0.3;
    ASSERT_LT(std::abs(ring - std::round(ring)), 6 * 0.1);
    ++circles.at(static_cast<std::size_t>(std::lround(ring) - 1));
    const auto [p, q] = sample(DataType::checkerboard, i);
    const int column = static_cast<int>((p + 0.9) / 0.45), row = static_cast<int>((q + 0.9) / 0.45);
    EXPECT_EQ((column + row) % 2, 0) << p << ' ' << q;
    squares.emplace(column, row);
  }
  EXPECT_EQ(squares.size(), 8U);
  for (const int count : modes) EXPECT_NEAR(count, n / 8, 4.6 * std::sqrt(n / 8.0));
  for (std::size_t i = 0; i < 3; ++i) {
    const double expected = n * static_cast<double>(i + 1) / 6;
    EXPECT_NEAR(circles[i], expected, 4.6 * std::sqrt(expected));
  }
}

TEST(DataSynthetic, DependsOnSeedAndIndexAlone) {
  for (const DataType type : synthetic_types) {
    EXPECT_EQ(sample(type, 5), sample(type, 5));
    EXPECT_NE(sample(type, 5), sample(type, 6));
    EXPECT_NE(sample(type, 5), sample(type, 5, 2));
  }
}

Config two_dimensional() {
  Config config;
  config.data.type = DataType::pinwheel;
  config.data.samples = 50;
  config.data.batch = 16;
  config.data.noise = 0.1;
  return config;
}

class Data : public TemporaryDirectory {
 protected:
  Dataset load(const Config& config) {
    return Dataset::load(config.data, config.run.seed, *local_);
  }

  /// 40 images of 2 x 2 x 3 with the bytes 0, 1, 2, … (modulo 251) and three classes.
  Config file_of_images(bool labels = true) {
    Config config;
    config.data.path = directory_ + "/images.h5";
    config.data.batch = 16;
    config.data.noise = 0;
    std::vector<std::uint8_t> images(480);
    for (std::size_t i = 0; i < images.size(); ++i) images[i] = static_cast<std::uint8_t>(i % 251);
    auto file = hdf5::File::create(config.data.path);
    hdf5::make_dataset(file, "train/images", ElementType::uint8, {40, 2, 2, 3})
        .write_all(images.data());
    std::vector<std::int64_t> classes(40);
    for (std::size_t i = 0; i < 40; ++i) classes[i] = static_cast<std::int64_t>(i % 3);
    if (labels) {
      hdf5::make_dataset(file, "train/labels", ElementType::int64, {40}).write_all(classes.data());
    }
    hdf5::write_attribute(hdf5::open_object(file, "/").id(), "schema_version", std::string("1.0"));
    file.close();
    return config;
  }

  std::unique_ptr<Communicator> local_ = make_local_communicator();
};

std::vector<float> batch_of(const Batches& batches, const Dataset& data, std::int64_t iteration,
                            std::int64_t first, std::int64_t count) {
  std::vector<float> out(static_cast<std::size_t>(count * data.dimension()));
  batches.fill(iteration, 16 * iteration, first, count, out.data());
  return out;
}

TEST_F(Data, SyntheticSetsHaveTheirSize) {
  const Dataset data = load(two_dimensional());
  EXPECT_EQ(data.size(), 50);
  EXPECT_EQ(data.shape(), std::vector<std::int64_t>{2});
  EXPECT_EQ(data.dimension(), 2);
  EXPECT_TRUE(data.labels().empty());
  float out[2];
  data.copy_sample(49, out);
  EXPECT_EQ(static_cast<double>(out[1]), sample(DataType::pinwheel, 49)[1]);
}

TEST_F(Data, ImagesAreScaledToTheRange) {
  Config config = file_of_images();
  config.data.range = {-1, 3};
  const Dataset data = load(config);
  EXPECT_EQ(data.size(), 40);
  EXPECT_EQ(data.shape(), (std::vector<std::int64_t>{2, 2, 3}));
  EXPECT_EQ(data.labels().size(), 40U);
  EXPECT_EQ(data.labels()[4], 1);
  std::vector<float> out(12);
  data.copy_sample(20, out.data());
  for (std::size_t i = 0; i < 12; ++i) {
    const double byte = static_cast<double>((240 + i) % 251);
    EXPECT_NEAR(static_cast<double>(out[i]), -1 + 4 * byte / 255, 1e-6);
  }
  EXPECT_TRUE(load(file_of_images(false)).labels().empty());
}

TEST_F(Data, EachSampleComesOnceInAnEpoch) {
  const Config config = two_dimensional();
  const Dataset data = load(config);
  const Batches batches(data, config, 0);
  // 50 samples in batches of 16: epochs end in the middle of batches.
  std::vector<std::int64_t> order;
  for (std::int64_t i = 0; i < 25; ++i) {
    for (std::int64_t position = 0; position < 16; ++position) {
      order.push_back(batches.sample_index(16 * i + position));
    }
  }
  const auto epoch = [&](std::ptrdiff_t number) {
    return std::vector<std::int64_t>(order.begin() + 50 * number,
                                     order.begin() + 50 * (number + 1));
  };
  for (std::ptrdiff_t number = 0; number < 8; ++number) {
    std::vector<std::int64_t> sorted = epoch(number), all(50);
    std::sort(sorted.begin(), sorted.end());
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(sorted, all);
    if (number > 0) {
      EXPECT_NE(epoch(number), epoch(number - 1));
    }
  }
  EXPECT_NE(
      Batches(data, config, 1).sample_index(0) * 50 + Batches(data, config, 1).sample_index(1),
      order[0] * 50 + order[1]);
}

TEST_F(Data, APartOfABatchIsThatPart) {
  Config config = file_of_images();
  config.data.noise = 0.2;
  config.data.flip = true;
  const Dataset data = load(config);
  const Batches batches(data, config, 0);
  const std::vector<float> whole = batch_of(batches, data, 7, 0, 16);
  for (const std::int64_t parts : {2, 4, 16}) {
    std::vector<float> joined;
    for (std::int64_t part = 0; part < parts; ++part) {
      const std::vector<float> one = batch_of(batches, data, 7, part * (16 / parts), 16 / parts);
      joined.insert(joined.end(), one.begin(), one.end());
    }
    EXPECT_EQ(joined, whole);
  }
}

TEST_F(Data, NoiseIsFreshAtEachUseAndProjected) {
  Config config = two_dimensional();
  config.data.samples = 1;
  config.data.noise = 0.5;
  config.sampler.box = std::nullopt;
  const Dataset data = load(config);
  float centre[2];
  data.copy_sample(0, centre);
  // Null hypothesis: 16,000 independent numbers, normal with standard deviation 0.5.
  const Batches batches(data, config, 0);
  double sum = 0, squares = 0;
  std::set<float> different;
  for (std::int64_t i = 0; i < 500; ++i) {
    const std::vector<float> batch = batch_of(batches, data, i, 0, 16);
    for (std::size_t j = 0; j < batch.size(); ++j) {
      const double noise = static_cast<double>(batch[j]) - static_cast<double>(centre[j % 2]);
      sum += noise, squares += noise * noise;
      different.insert(batch[j]);
    }
  }
  constexpr double n = 16000;
  EXPECT_LT(std::abs(sum), 4.42 * 0.5 * std::sqrt(n));
  EXPECT_LT(std::abs(squares - n * 0.25), 4.42 * 0.25 * std::sqrt(2 * n));
  EXPECT_GT(different.size(), 15900U);
  EXPECT_NE(batch_of(Batches(data, config, 1), data, 3, 0, 16), batch_of(batches, data, 3, 0, 16));

  // 8,000 of them of denoising, of twice and four times the deviation, and the sample itself.
  double second = 0, fourth = 0;
  for (std::int64_t i = 0; i < 500; ++i) {
    std::vector<float> clean(16), noised(16);
    const std::vector<double> deviations{1, 1, 1, 1, 2, 2, 2, 2};
    batches.fill_noised(i, 8 * i, 0, deviations, clean.data(), noised.data());
    for (std::size_t j = 0; j < 16; ++j) {
      EXPECT_EQ(clean[j], centre[j % 2]);
      const double noise = static_cast<double>(noised[j]) - static_cast<double>(centre[j % 2]);
      (j < 8 ? second : fourth) += noise * noise;
    }
    // A rank that has the last four positions alone gets the same numbers.
    std::vector<float> own_clean(8), own(8);
    const std::vector<double> last(deviations.begin() + 4, deviations.end());
    batches.fill_noised(i, 8 * i, 4, last, own_clean.data(), own.data());
    EXPECT_TRUE(std::equal(own.begin(), own.end(), noised.begin() + 8));
  }
  EXPECT_LT(std::abs(second - n / 4), 4.42 * std::sqrt(2 * n / 4));
  EXPECT_LT(std::abs(fourth - 4 * n / 4), 4.42 * 4 * std::sqrt(2 * n / 4));

  config.sampler.box = {{-0.25, 0.5}};
  const Batches boxed(data, config, 0);
  std::vector<float> projected = batch_of(batches, data, 3, 0, 16);
  for (float& value : projected) value = std::clamp(value, -0.25F, 0.5F);
  EXPECT_EQ(batch_of(boxed, data, 3, 0, 16), projected);
}

TEST_F(Data, WithoutNoiseABatchIsTheData) {
  const Config config = file_of_images();
  const Dataset data = load(config);
  const Batches batches(data, config, 0);
  const std::vector<float> batch = batch_of(batches, data, 2, 0, 16);
  std::vector<float> expected(12);
  for (std::int64_t i = 0; i < 16; ++i) {
    data.copy_sample(batches.sample_index(16 * 2 + i), expected.data());
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), batch.begin() + 12 * i));
  }
}

TEST_F(Data, FlipsMirrorHalfOfTheImages) {
  Config config = file_of_images();
  config.data.flip = true;
  const Dataset data = load(config);
  const Batches batches(data, config, 0);
  std::int64_t mirrored = 0;
  std::vector<float> plain(12);
  for (std::int64_t iteration = 0; iteration < 2000; ++iteration) {
    const std::vector<float> batch = batch_of(batches, data, iteration, 0, 16);
    for (std::int64_t i = 0; i < 16; ++i) {
      data.copy_sample(batches.sample_index(16 * iteration + i), plain.data());
      const auto* image = &batch[static_cast<std::size_t>(12 * i)];
      if (std::equal(plain.begin(), plain.end(), image)) continue;
      ++mirrored;
      for (std::size_t row = 0; row < 4; ++row) {
        for (std::size_t x = 0; x < 3; ++x) ASSERT_EQ(image[3 * row + x], plain[3 * row + 2 - x]);
      }
    }
  }
  // Null hypothesis: 32,000 fair coins.
  EXPECT_NEAR(static_cast<double>(mirrored), 16000, 4.42 * std::sqrt(8000.0));
}

TEST_F(Data, PointsAreNotFlipped) {
  Config config = two_dimensional();
  config.data.noise = 0;
  config.sampler.box = std::nullopt;
  const Dataset data = load(config);
  const std::vector<float> plain = batch_of(Batches(data, config, 0), data, 0, 0, 16);
  config.data.flip = true;
  EXPECT_EQ(batch_of(Batches(data, config, 0), data, 0, 0, 16), plain);
}

TEST_F(Data, AMissingFileIsNamed) {
  Config config;
  config.data.path = directory_ + "/none.h5";
  try {
    load(config);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ExitCode::input_output);
    EXPECT_NE(std::string(error.what()).find("none.h5"), std::string::npos);
  }
}

}  // namespace
}  // namespace stanley
