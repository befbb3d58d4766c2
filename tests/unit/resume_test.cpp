#include "train/resume.hpp"

#include <gtest/gtest.h>

#include "config/error.hpp"
#include "sampling/stored_config.hpp"

namespace stanley {
namespace {

Config plain() {
  Config config;
  config.data.type = DataType::rings;
  return config;
}

CheckpointHeader header_of(const Config& config) {
  return {.path = "here/iteration-00000100.h5",
          .iteration = 100,
          .progress = {{"attempt", std::int64_t{0}}},
          .texts = {{"config", to_yaml(config)},
                    {"precision", "bfloat16"},
                    {"device", "cuda"},
                    {"versions", R"({"stanley": "9.9"})"}}};
}

std::string failure_of(const std::function<void()>& step, ExitCode code) {
  try {
    step();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, code);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

TEST(Resume, AutoStaysWhatItWas) {
  Config config = plain();
  EXPECT_TRUE(keep_resolved(header_of(config), false, config).empty());
  EXPECT_EQ(config.run.device, DeviceKind::cuda);
  EXPECT_EQ(config.run.precision, Precision::bfloat16);
}

TEST(Resume, ABranchMayComputeElsewhere) {
  Config config = plain();
  EXPECT_TRUE(keep_resolved(header_of(config), true, config).empty());
  EXPECT_EQ(config.run.device, DeviceKind::automatic);
  EXPECT_EQ(config.run.precision, Precision::bfloat16);
}

TEST(Resume, WhatIsChangedOnPurposeIsTold) {
  Config config = plain();
  config.run.device = DeviceKind::cpu;
  config.run.precision = Precision::float32;
  const auto changes = keep_resolved(header_of(config), false, config);
  ASSERT_EQ(changes.size(), 2U);
  EXPECT_NE(changes[0].find("precision bfloat16, and goes on with float32"), std::string::npos);
  EXPECT_NE(changes[1].find("device cuda, and goes on with cpu"), std::string::npos);
  EXPECT_EQ(config.run.device, DeviceKind::cpu);
  EXPECT_EQ(config.run.precision, Precision::float32);
  config.run.precision = Precision::bfloat16;
  config.run.device = DeviceKind::cuda;
  EXPECT_TRUE(keep_resolved(header_of(config), false, config).empty());
}

TEST(Resume, AnEndThatMovesIsKeptAndTold) {
  Config before = plain();
  before.run.iterations = 1000;
  before.sampler.steps = 7;
  before.optimizer.schedule.type = ScheduleType::cosine;
  CheckpointHeader header = header_of(before);
  Config now = before;
  now.run.iterations = 3000;
  // As older releases wrote it: neither counter is there.
  Progress progress = progress_of(header, now, false);
  EXPECT_EQ(integer_of(progress, "schedule_end"), 1000);
  EXPECT_EQ(integer_of(progress, "chain_steps"), 700);
  const std::string note = moved_end_note(now, progress);
  EXPECT_NE(note.find("run.iterations is 3000"), std::string::npos) << note;
  EXPECT_NE(note.find("ends at iteration 1000"), std::string::npos) << note;
  EXPECT_NE(note.find("optimizer.schedule.end"), std::string::npos) << note;
  // What the run's first start planned holds over any number of resumes.
  header.progress["schedule_end"] = std::int64_t{500};
  header.progress["chain_steps"] = std::int64_t{71};
  progress = progress_of(header, now, false);
  EXPECT_EQ(integer_of(progress, "schedule_end"), 500);
  EXPECT_EQ(integer_of(progress, "chain_steps"), 71);
  EXPECT_EQ(integer_of(progress_of(header, now, true), "schedule_end"), 3000);

  now.optimizer.schedule.end = 2000;
  EXPECT_EQ(moved_end_note(now, progress), "");
  now.chains.restart_probability = {0.1, 0.0};
  EXPECT_NE(moved_end_note(now, progress).find("but chains.restart_probability"),
            std::string::npos);
  now.optimizer.schedule.end.reset();
  EXPECT_NE(moved_end_note(now, progress).find("ends and chains.restart_probability"),
            std::string::npos);
}

TEST(Resume, ConfigurationsOfOtherReleasesAreReadAsFarAsTheyGo) {
  CheckpointHeader header = header_of(plain());
  header.texts["config"] += "later: {release: 2}\n";
  EXPECT_EQ(stored_config(header).config, plain());
  EXPECT_EQ(stored_config(header).unknown, std::vector<std::string>{"later"});
  check_resume(header, plain(), false);

  header.texts["config"] = "sampler: {type: hmc}\n";
  const std::string message = failure_of([&] { stored_config(header); }, ExitCode::input_output);
  EXPECT_NE(message.find("sampler.type"), std::string::npos) << message;
  EXPECT_NE(message.find("use the one that wrote it"), std::string::npos) << message;
  EXPECT_NE(message.find("9.9"), std::string::npos) << message;
  failure_of([&] { stored_config(header_of(plain()), {"sampler.type=hmc"}); },
             ExitCode::configuration);
}

}  // namespace
}  // namespace stanley
