#include "config/stages.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "config/error.hpp"

namespace stanley {
namespace {

const std::string three =
    "data: {path: images.h5}\n"
    "run: {iterations: 1000}\n"
    "stages:\n"
    "  - {size: 8, iterations: 300, steps: 30, active: 256, batch: 64, learning_rate: 1.0e-3}\n"
    "  - {size: 16, iterations: 400}\n"
    "  - {size: 32, steps: 10}\n";

Config parsed(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_config(text, "test.yaml", overrides);
}

std::string refused(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    parsed(text, overrides);
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ExitCode::configuration);
    return error.what();
  }
  return "accepted";
}

TEST(Stages, AreConfigurationsOfTheirOwn) {
  const Config run = parsed(three);
  ASSERT_EQ(stage_count(run), 3U);
  Config expected = run;
  expected.stages.clear();
  expected.data.size = 8;
  expected.energy.levels = 1;
  expected.energy.channels = 64;
  expected.sampler.steps = 30;
  expected.chains.active = 256;
  expected.data.batch = 64;
  expected.optimizer.learning_rate = 1e-3;
  EXPECT_TRUE(stage_config(run, 0) == expected);
  const Config second = stage_config(run, 1);
  EXPECT_EQ(second.energy.levels, 2);
  EXPECT_EQ(second.energy.channels, 32);
  EXPECT_EQ(second.sampler.steps, 20);
  const Config last = last_stage(run);
  EXPECT_EQ(last.energy, run.energy);
  EXPECT_EQ(last.data.size, 32);
  EXPECT_EQ(last.sampler.steps, 10);
  for (std::size_t stage = 0; stage < 3; ++stage) {
    const Config plain = stage_config(run, stage);
    EXPECT_TRUE(parsed(to_yaml(plain)) == plain);
    EXPECT_TRUE(stage_config(plain, 0) == plain);
  }
}

TEST(Stages, AreReadAndWritten) {
  const Config run = parsed(three);
  EXPECT_TRUE(parsed(to_yaml(run)) == run);
  EXPECT_EQ(plain_value(run, "stages"),
            "[{size: 8, iterations: 300, steps: 30, active: 256, batch: 64, learning_rate: 0.001}, "
            "{size: 16, iterations: 400}, {size: 32, steps: 10}]");
  EXPECT_TRUE(parsed(three, {"stages=[]"}).stages.empty());
  EXPECT_EQ(parsed(three, {"stages=[{size: 32}]"}).stages.size(), 1U);
}

TEST(Stages, EndWithTheStateThatFinishesThem) {
  const Config run = parsed(three);
  for (const auto& [iteration, stage] :
       std::initializer_list<std::pair<std::int64_t, std::size_t>>{{0, 0},
                                                                   {1, 0},
                                                                   {299, 0},
                                                                   {300, 0},
                                                                   {301, 1},
                                                                   {700, 1},
                                                                   {701, 2},
                                                                   {1000, 2},
                                                                   {5000, 2}}) {
    EXPECT_EQ(stage_at(run, iteration), stage) << iteration;
    EXPECT_EQ(stage_ends(run, iteration), iteration == 300 || iteration == 700) << iteration;
  }
  EXPECT_EQ(iterations_of(run, 0), 300);
  EXPECT_EQ(iterations_of(run, 1), 400);
  EXPECT_EQ(iterations_of(run, 2), 300);
  EXPECT_EQ(stage_text(run, 1), "stage 2 of 3: images of 16×16");
}

TEST(Stages, ARunWithoutAnyIsItsOnlyOne) {
  const Config run = parsed("data: {path: images.h5}\n");
  EXPECT_EQ(stage_count(run), 1U);
  EXPECT_TRUE(last_stage(run) == run);
  EXPECT_EQ(stage_at(run, 12345), 0U);
  EXPECT_FALSE(stage_ends(run, 12345));
  EXPECT_EQ(iterations_of(run, 0), run.run.iterations);
  EXPECT_EQ(stage_text(run, 0), "");
}

TEST(Stages, AreRefusedWhereTheyCanNotBe) {
  const auto with = [&](const std::string& override_text) {
    return refused(three, {override_text});
  };
  const auto of = [](const std::string& stages) {
    return refused("data: {path: images.h5}\n", {"stages=" + stages});
  };
  const std::vector<std::pair<std::string, std::string>> cases{
      {with("energy.type=resnet"), "stages grow a convnet, but energy.type is resnet"},
      {with("energy.spectral_normalization=true"), "can't grow and keep its energy"},
      {with("data.type=rings"), "stages are of images, but data.type rings has none"},
      {with("data.size=16"), "and so does data.size: leave that out"},
      {with("energy.levels=2"), "there are 3 stages, and the convnet halves images 2 times"},
      {with("energy.channels=20000"), "begins with 80000 channels, above 65536"},
      {with("run.iterations=700"),
       "take 700 iterations, which leaves the last none of "
       "run.iterations 700"},
      {with("chains.shards=128"), "stage 1: chains.shards 128 must divide batch 64"},
      {with("chains.shards=512"), "stage 1: chains.shards 512 must divide active 256"},
      {with("chains.total=640"), "stage 1: active 256 must divide chains.total 640"},
      {of("[{size: 8, iterations: 9}, {size: 24}]"), "twice the one before, and 24 follows 8"},
      {of("[{size: 8}, {size: 16}]"), "stage 1 (size 8) has no iterations"},
      {of("[{size: 16, iterations: 9}]"), "leave its iterations out"},
      {of("[{size: 16, batch: 4096}]"), "stage 1: batch 4096 must be at most chains.total 2048"},
      {of("[{size: 16, colour: 3}]"), "stage 1: unknown key colour; a stage has size, iterations"},
      {of("[{size: 16, steps: 0}]"), "stage 1: steps: expected an integer in [1, 1073741824]"},
      {of("[{iterations: 3}]"), "stage 1: expected {size: ...}"},
      {of("[8, 16]"), "stage 1: expected {size: ...}, found"},
      {of("{size: 8}"), "expected a list of stages {size: ..., iterations: ...}"},
      {refused("data: {type: rings, size: 8}\n"), "data.size reduces images"},
      {refused("data: {path: a}\nenergy: {type: mlp, levels: 2}\n"),
       "energy.levels is the convnet"},
  };
  for (const auto& [message, part] : cases) {
    EXPECT_NE(message.find(part), std::string::npos) << message << "\n  instead of " << part;
  }
}

}  // namespace
}  // namespace stanley
