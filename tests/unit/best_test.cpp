#include "train/best.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <utility>
#include <vector>

#include "temporary_directory.hpp"

namespace stanley {
namespace {

using Iterations = std::set<std::int64_t>;

CheckpointHeader header_of(const Bests& bests) {
  CheckpointHeader header;
  bests.add_to(header.progress, header.texts);
  return header;
}

TEST(Bests, TakeWhatIsBetterThanAllBefore) {
  Bests bests("states");
  EXPECT_FALSE(bests.newest());
  EXPECT_FALSE(bests.take(5, std::nan("")));
  EXPECT_TRUE(bests.take(10, 0.5));
  EXPECT_FALSE(bests.take(20, 0.5));  // the first of equal ones
  EXPECT_FALSE(bests.take(30, 0.7));
  EXPECT_FALSE(bests.take(40, std::nan("")));
  EXPECT_TRUE(bests.take(50, -0.1));
  EXPECT_EQ(bests.newest(), (Best{50, -0.1}));
}

TEST(Bests, ARollBackMeetsTheBestOfThatTime) {
  Bests bests("states");
  for (const auto& [iteration, kid] : {Best{10, 0.5}, {20, 0.4}, {30, 0.3}})
    bests.take(iteration, kid);
  // At 25 the best was 20; at 9 there was none.
  EXPECT_EQ(bests.kept({0, 9, 25}), (Iterations{20, 30}));
  EXPECT_EQ(bests.kept({10, 30}), (Iterations{10, 30}));
  bests.go_back(25);
  EXPECT_EQ(bests.newest(), (Best{20, 0.4}));
  EXPECT_TRUE(bests.take(30, 0.35));
  bests.go_back(0);
  EXPECT_FALSE(bests.newest());
  EXPECT_EQ(bests.kept({0, 25}), Iterations{});
}

TEST(Bests, WhatCouldNotBeWrittenIsForgotten) {
  Bests bests("states");
  bests.take(10, 0.5);
  bests.take(20, 0.4);
  bests.take(30, 0.3);
  bests.forget(20);
  bests.forget(11);
  EXPECT_EQ(bests.all(), (std::vector<Best>{{10, 0.5}, {30, 0.3}}));
}

TEST(Bests, ACheckpointRemembersThemBitForBit) {
  Bests bests("states", 64);
  EXPECT_TRUE(header_of(bests).progress.empty() && header_of(bests).texts.empty());
  bests.take(10, 0.1 + 0.2);
  Bests again("states", 64);
  EXPECT_TRUE(again.learn(header_of(Bests())));
  EXPECT_TRUE(again.learn(header_of(bests)));
  EXPECT_TRUE(again.learn(header_of(bests)));
  EXPECT_EQ(again.all(), bests.all());
  // Without evaluations of its own, a start hands on what it has found.
  Bests silent;
  EXPECT_TRUE(silent.learn(header_of(bests)));
  EXPECT_EQ(header_of(silent).progress, header_of(bests).progress);
  EXPECT_EQ(header_of(silent).texts, header_of(bests).texts);
  for (Bests other : {Bests("another network", 64), Bests("states", 63)}) {
    EXPECT_FALSE(other.learn(header_of(bests)));
    EXPECT_FALSE(other.newest());
  }
  // Earlier releases don't tell how many chains.
  CheckpointHeader older = header_of(bests);
  older.progress.erase("evaluation_chains");
  Bests of_now("states", 63);
  EXPECT_TRUE(of_now.learn(older));
}

class RecalledBests : public TemporaryDirectory {
 protected:
  void write(std::int64_t iteration, const Bests& bests) {
    const auto alone = make_local_communicator();
    float weight = 1;
    CheckpointContents contents{.iteration = iteration,
                                .arrays = {{.name = "parameters/w",
                                            .type = ElementType::float32,
                                            .shape = {1},
                                            .data = &weight}},
                                .progress = {{"iteration", iteration}},
                                .texts = {}};
    bests.add_to(contents.progress, contents.texts);
    write_checkpoint(*alone, directory_, contents, {});
  }
};

TEST_F(RecalledBests, AreThoseOfTheTargetsAndOfTheStart) {
  Bests bests("states", 64);
  write(0, bests);
  for (const std::int64_t iteration : {8, 10, 14, 20, 22}) {
    if (iteration != 10 && iteration != 20) {
      bests.take(iteration, 1.0 / static_cast<double>(iteration));
    }
    write(iteration, bests);
  }
  const auto alone = make_local_communicator();
  bool told_otherwise = false;
  const auto at = [&](std::int64_t iteration) {
    return recall_bests(*alone, directory_, iteration, {0, 10, 20}, Bests("states", 64),
                        told_otherwise)
        .all();
  };
  EXPECT_EQ(at(22), bests.all());
  EXPECT_EQ(at(20), (std::vector<Best>{{8, 1.0 / 8}, {14, 1.0 / 14}}));  // 22 is still to come
  std::filesystem::remove(checkpoint_path(directory_, 14));
  EXPECT_EQ(at(20), (std::vector<Best>{{8, 1.0 / 8}}));
  EXPECT_FALSE(told_otherwise);
  for (const Bests& other : {Bests("others"), Bests("states", 32)}) {
    EXPECT_TRUE(recall_bests(*alone, directory_, 22, {0, 10}, other, told_otherwise).all().empty());
    EXPECT_TRUE(std::exchange(told_otherwise, false));
  }
}

}  // namespace
}  // namespace stanley
