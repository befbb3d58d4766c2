#include "data/reduction.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <numeric>

#include "config/error.hpp"

namespace stanley {
namespace {

std::string complaint(const std::function<void()>& step) {
  try {
    step();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ExitCode::configuration);
    return error.what();
  }
  return "nothing";
}

/// Images of bytes that differ from pixel to pixel, and the same as floats.
struct Pictures {
  std::vector<std::int64_t> extents{3, 2, 12, 12};
  std::vector<std::uint8_t> bytes{};
  std::vector<float> floats{};

  explicit Pictures(bool as_floats) {
    for (std::size_t i = 0; i < 3 * 2 * 144; ++i) {
      const auto value = static_cast<std::uint8_t>((i * i * 31 + 7 * i) % 251);
      if (as_floats) {
        floats.push_back(static_cast<float>(value) / 251.0F);
      } else {
        bytes.push_back(value);
      }
    }
  }
  double at(std::size_t i) const {
    return floats.empty() ? static_cast<double>(bytes[i]) : static_cast<double>(floats[i]);
  }
};

TEST(Reduction, IsTheMeansOverSquares) {
  for (const bool as_floats : {false, true}) {
    for (const std::int64_t size : {2, 3, 4, 6}) {
      const Pictures before(as_floats);
      Pictures after = before;
      DataConfig config;
      config.size = size;
      ASSERT_TRUE(reduce_images(config, after.extents, after.bytes, after.floats));
      EXPECT_EQ(after.extents, (std::vector<std::int64_t>{3, 2, size, size}));
      EXPECT_TRUE(after.bytes.empty());
      const std::int64_t factor = 12 / size;
      ASSERT_EQ(after.floats.size(), static_cast<std::size_t>(6 * size * size));
      for (std::int64_t i = 0; i < 6 * size * size; ++i) {
        const std::int64_t plane = i / (size * size), y = i / size % size, x = i % size;
        double sum = 0;
        for (std::int64_t dy = 0; dy < factor; ++dy) {
          for (std::int64_t dx = 0; dx < factor; ++dx) {
            sum += before.at(
                static_cast<std::size_t>(plane * 144 + (factor * y + dy) * 12 + factor * x + dx));
          }
        }
        EXPECT_EQ(after.floats[static_cast<std::size_t>(i)],
                  static_cast<float>(sum / static_cast<double>(factor * factor)));
      }
    }
  }
}

TEST(Reduction, LeavesImagesOfThisSizeAlone) {
  Pictures pictures(false);
  const std::vector<std::uint8_t> before = pictures.bytes;
  DataConfig config;
  EXPECT_FALSE(reduce_images(config, pictures.extents, pictures.bytes, pictures.floats));
  config.size = 12;
  EXPECT_FALSE(reduce_images(config, pictures.extents, pictures.bytes, pictures.floats));
  EXPECT_EQ(pictures.bytes, before);
  EXPECT_TRUE(pictures.floats.empty());
}

TEST(Reduction, RefusesWhatDoesNotFit) {
  DataConfig config;
  config.path = "images.h5";
  config.size = 5;
  EXPECT_EQ(complaint([&] {
              reduced_shape(config, {1, 12, 12});
            }),
            "data.size 5 must divide the side of the images of images.h5, which is 12");
  for (const std::vector<std::int64_t>& shape :
       {std::vector<std::int64_t>{1, 10, 20}, std::vector<std::int64_t>{10}}) {
    EXPECT_NE(complaint([&] { reduced_shape(config, shape); }).find("reduces square images"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace stanley
