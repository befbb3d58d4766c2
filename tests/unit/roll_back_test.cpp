#include "train/roll_back.hpp"

#include <gtest/gtest.h>

#include "config/error.hpp"

namespace stanley {
namespace {

using Iterations = std::set<std::int64_t>;

TEST(RollBack, WithoutRegularCheckpointsTheFirstIsTheOnlyTarget) {
  const RollbackTargets targets{.base = 40, .every = 0, .probation = 25};
  EXPECT_EQ(targets.newest(1000), 40);
  EXPECT_EQ(targets.from(1000), Iterations{40});
}

TEST(RollBack, ATargetIsAMultipleThatHasPassedItsProbation) {
  const RollbackTargets targets{.base = 0, .every = 20, .probation = 25};
  EXPECT_EQ(targets.period(), 40);
  EXPECT_EQ(targets.newest(64), 0);  // 40 is 24 iterations old
  EXPECT_EQ(targets.newest(65), 40);
  EXPECT_EQ(targets.newest(105), 80);
}

TEST(RollBack, WhatMayBecomeATargetIsKept) {
  const RollbackTargets targets{.base = 0, .every = 20, .probation = 25};
  EXPECT_EQ(targets.from(64), (Iterations{0, 40}));
  EXPECT_EQ(targets.from(85), (Iterations{0, 40, 80}));
  EXPECT_EQ(targets.from(119), (Iterations{0, 80}));
}

TEST(RollBack, NoTargetLiesBeforeTheRunsFirstIteration) {
  const RollbackTargets targets{.base = 50, .every = 20, .probation = 25};
  EXPECT_EQ(targets.newest(60), 50);
  EXPECT_EQ(targets.newest(105), 80);
}

TEST(RollBack, EveryRankTellsWhatTheFirstOneSaw) {
  const auto alone = make_local_communicator();
  const Divergence seen{.seen = "the gap is 812", .advice = "lower the learning rate"};
  const Divergence told = first_seen(*alone, seen);
  EXPECT_EQ(told.seen, seen.seen);
  EXPECT_EQ(told.advice, seen.advice);
  EXPECT_THROW(first_seen(*alone, std::nullopt), Error);
}

TEST(RollBack, WithoutAnyCheckpointTheRunHasDiverged) {
  const auto alone = make_local_communicator();
  try {
    find_target(*alone, "nowhere", {.base = 0, .every = 20, .probation = 25}, 65, {});
    FAIL() << "a checkpoint that is not there";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ExitCode::diverged);
    const std::string what = error.what();
    EXPECT_NE(what.find("iteration-00000040.h5"), std::string::npos) << what;
    EXPECT_NE(what.find("iteration-00000000.h5"), std::string::npos) << what;
  }
}

}  // namespace
}  // namespace stanley
