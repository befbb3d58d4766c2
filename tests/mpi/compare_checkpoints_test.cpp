#include "storage/compare_checkpoints.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <numeric>

#include "storage/blocks.hpp"
#include "storage/checkpoint.hpp"
#include "storage/inspection.hpp"
#include "test_session.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;

Communicator& world() { return test_session().world(); }

constexpr float nan_of_float = std::numeric_limits<float>::quiet_NaN();

/// Replicated arrays of unusual values, written as a checkpoint.
struct State {
  std::vector<float> weight = std::vector<float>(5 * 7 * 11);
  std::vector<std::int64_t> age{1, 2, 3, 4, 5, 6};
  double scalar{0.5};
  Progress progress{{"iteration", std::int64_t{3}}, {"gap_mean", 0.25}, {"seconds_used", 1.0}};
  std::map<std::string, std::string> texts{{"config", "run: {}\n"}};
  std::vector<std::int64_t> age_shape{6};

  State() { std::iota(weight.begin(), weight.end(), 0.0F); }

  std::vector<ArrayView> views() {
    return {
        {.name = "parameters/weight", .shape = {5, 7, 11}, .data = weight.data()},
        {.name = "parameters/scalar", .type = ElementType::float64, .data = &scalar},
        {.name = "buffers/empty", .shape = {0, 3}},
        {.name = "chains/age", .type = ElementType::int64, .shape = age_shape, .data = age.data()}};
  }
};

class CompareCheckpointsMpi : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "stanley-compare-XXXXXX").string();
    if (world().rank() == 0 && mkdtemp(name.data()) == nullptr) FAIL() << "no directory";
    directory_ = world().broadcast(name, 0);
  }

  void TearDown() override {
    world().barrier();
    if (world().rank() == 0) fs::remove_all(directory_);
  }

  std::string write(std::int64_t iteration, State& state) {
    CheckpointContents contents{.iteration = iteration, .arrays = state.views()};
    contents.progress = state.progress;
    contents.texts = state.texts;
    return write_checkpoint(world(), directory_, contents, {}).path;
  }

  /// Both written and compared; the differences must not depend on the size of the blocks.
  CheckpointDifference compare(State& first, State& second) {
    const std::string a = write(1, first);
    const std::string b = write(2, second);
    const CheckpointDifference whole = compare_checkpoints(world(), a, b);
    for (const std::size_t block : {1U, 20U, 44U, 100U, 700U}) {
      const CheckpointDifference parts = compare_checkpoints(world(), a, b, block);
      EXPECT_EQ(parts.arrays.size(), whole.arrays.size());
      for (std::size_t i = 0; i < parts.arrays.size(); ++i) {
        EXPECT_EQ(parts.arrays[i].differing, whole.arrays[i].differing) << "block " << block;
        EXPECT_EQ(parts.arrays[i].largest, whole.arrays[i].largest) << "block " << block;
        EXPECT_EQ(parts.arrays[i].index, whole.arrays[i].index) << "block " << block;
      }
    }
    return whole;
  }

  static const ArrayDifference& find(const CheckpointDifference& all, const std::string& name) {
    for (const auto& array : all.arrays) {
      if (array.name == name) return array;
    }
    throw std::out_of_range(name);
  }

  std::string directory_;
};

using Index = std::vector<std::int64_t>;

TEST_F(CompareCheckpointsMpi, EqualToTheBitWithNaN) {
  State first;
  first.weight[17] = nan_of_float;
  State second = first;
  const auto difference = compare(first, second);
  EXPECT_TRUE(difference.equal());
  EXPECT_EQ(difference.arrays.size(), 4U);
  EXPECT_EQ(difference.first_world_size, world().size());
  EXPECT_EQ(find(difference, "parameters/weight").elements, 5 * 7 * 11);
  EXPECT_EQ(find(difference, "parameters/scalar").elements, 1);
  EXPECT_EQ(find(difference, "buffers/empty").elements, 0);
}

TEST_F(CompareCheckpointsMpi, LargestDifferenceAndItsFirstPlace) {
  State first;
  State second;
  second.weight[3] += 1;
  second.weight[2 * 77 + 5 * 11 + 4] -= 8;
  second.weight[4 * 77 + 6 * 11 + 10] += 8;
  second.scalar = -1.5;
  const auto difference = compare(first, second);
  const auto& weight = find(difference, "parameters/weight");
  EXPECT_EQ(weight.differing, 3);
  EXPECT_EQ(weight.largest, 8);
  EXPECT_EQ(weight.index, (Index{2, 5, 4}));
  EXPECT_EQ(find(difference, "parameters/scalar").largest, 2);
  EXPECT_EQ(find(difference, "parameters/scalar").index, Index{});
  EXPECT_TRUE(find(difference, "chains/age").equal());
  EXPECT_EQ(difference.differing_arrays(), 2);
}

TEST_F(CompareCheckpointsMpi, NaNAndZerosAndFarIntegers) {
  State first;
  State second;
  first.weight[0] = 0.0F;
  second.weight[0] = -0.0F;
  first.age[4] = std::numeric_limits<std::int64_t>::min();
  second.age[4] = std::numeric_limits<std::int64_t>::max();
  first.scalar = std::numeric_limits<double>::infinity();
  second.scalar = std::numeric_limits<double>::infinity();
  auto difference = compare(first, second);
  EXPECT_EQ(find(difference, "parameters/weight").differing, 1);
  EXPECT_EQ(find(difference, "parameters/weight").largest, 0);
  EXPECT_EQ(find(difference, "chains/age").largest, std::ldexp(1.0, 64));
  EXPECT_EQ(find(difference, "chains/age").index, Index{4});
  EXPECT_TRUE(find(difference, "parameters/scalar").equal());

  second.weight[200] = nan_of_float;
  difference = compare(first, second);
  EXPECT_EQ(find(difference, "parameters/weight").largest, std::numeric_limits<double>::infinity());
  EXPECT_EQ(find(difference, "parameters/weight").index, (Index{2, 4, 2}));
}

TEST_F(CompareCheckpointsMpi, OtherShapesAndProgress) {
  State first;
  State second;
  second.age_shape = {2, 3};
  second.progress = {{"iteration", std::int64_t{4}}, {"seconds_used", 2.0}};
  second.texts = {{"config", "run: {seed: 2}\n"}};
  const auto difference = compare(first, second);
  EXPECT_NE(find(difference, "chains/age").mismatch.find("(2, 3)"), std::string::npos);
  EXPECT_EQ(difference.differing_arrays(), 1);
  ASSERT_EQ(difference.progress.size(), 3U);
  EXPECT_EQ(difference.progress[0].name, "gap_mean");
  EXPECT_EQ(difference.progress[0].second, "none");
  EXPECT_EQ(difference.progress[1].first, "3");
  EXPECT_TRUE(difference.progress[2].clock);
  EXPECT_EQ(difference.differing_progress(), 2);
  EXPECT_EQ(difference.texts, std::vector<std::string>{"config"});
}

TEST_F(CompareCheckpointsMpi, MissingFileFailsOnAllRanks) {
  State state;
  const std::string path = write(1, state);
  try {
    compare_checkpoints(world(), path, directory_ + "/none.h5");
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ExitCode::input_output);
    EXPECT_NE(std::string(error.what()).find("none.h5"), std::string::npos);
  }
}

TEST(Blocks, AreNeighboursInRowMajorOrderAndCoverTheArray) {
  EXPECT_EQ(hdf5::block_shape({5, 7, 11}, 4, 44), (Index{1, 1, 11}));
  EXPECT_EQ(hdf5::block_shape({5, 7, 11}, 4, 43), (Index{1, 1, 10}));
  EXPECT_EQ(hdf5::block_shape({5, 7, 11}, 4, 4 * 11 * 3), (Index{1, 3, 11}));
  EXPECT_EQ(hdf5::block_shape({5, 7, 11}, 4, 4 * 77 * 2), (Index{2, 7, 11}));
  EXPECT_EQ(hdf5::block_shape({5, 7, 11}, 8, 1), (Index{1, 1, 1}));
  EXPECT_EQ(hdf5::block_shape({}, 8, 64), Index{});

  for (const std::size_t bytes : {4U, 40U, 44U, 100U, 132U, 400U, 100000U}) {
    std::int64_t next = 0;
    const auto block = hdf5::block_shape({5, 7, 11}, 4, bytes);
    hdf5::for_each_block({5, 7, 11}, block, [&](const hdf5::Block& part) {
      EXPECT_LE(part.elements() * 4, bytes);
      EXPECT_EQ((part.start[0] * 7 + part.start[1]) * 11 + part.start[2], next);
      next += static_cast<std::int64_t>(part.elements());
    });
    EXPECT_EQ(next, 5 * 7 * 11);
  }
  hdf5::for_each_block({0, 3}, {1, 3}, [](const hdf5::Block&) { ADD_FAILURE(); });
}

}  // namespace
}  // namespace stanley
