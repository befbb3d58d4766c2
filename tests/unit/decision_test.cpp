#include "train/decision.hpp"

#include <gtest/gtest.h>

#include <chrono>

#include "config/error.hpp"

namespace stanley {
namespace {

using std::chrono::seconds;
using Time = Deadlines::Time;

Config config_of(std::int64_t iterations) {
  Config config;
  config.run.iterations = iterations;
  config.samples.every = 10;
  config.checkpoint.every = 20;
  return config;
}

TEST(Decision, NothingIsDueBetweenTheMultiples) {
  const Decision decision = decide({}, 7, config_of(100));
  EXPECT_FALSE(decision.stop() || decision.draws || decision.checkpoint || decision.diverged);
}

TEST(Decision, FilesAreDueAtMultiples) {
  EXPECT_TRUE(decide({}, 10, config_of(100)).draws);
  EXPECT_FALSE(decide({}, 10, config_of(100)).checkpoint);
  EXPECT_TRUE(decide({}, 20, config_of(100)).checkpoint);
}

TEST(Decision, TheLastIterationWritesAllAndNeedsNoStop) {
  const Decision decision = decide({.signal = 2, .until = 1}, 33, config_of(33));
  EXPECT_TRUE(decision.draws && decision.checkpoint);
  EXPECT_FALSE(decision.stop());
}

TEST(Decision, WithoutDrawsTheLastIterationWritesNone) {
  Config config = config_of(33);
  config.samples.every.reset();
  EXPECT_FALSE(decide({}, 33, config).draws);
}

TEST(Decision, AnyRanksSignalStopsWithACheckpoint) {
  const Decision decision = decide({.signal = 1, .job_end = 1}, 7, config_of(100));
  EXPECT_EQ(decision.stop_asked_by, "signal");
  EXPECT_TRUE(decision.checkpoint);
  EXPECT_FALSE(decision.draws);
}

TEST(Decision, WhoAskedIsTold) {
  EXPECT_EQ(decide({.until = 1}, 7, config_of(100)).stop_asked_by, "run.until");
  EXPECT_EQ(decide({.job_end = 1}, 7, config_of(100)).stop_asked_by, "Slurm's end of the job");
}

TEST(Decision, AVoteForACheckpointIsNoStop) {
  const Decision decision = decide({.checkpoint = 1}, 7, config_of(100));
  EXPECT_TRUE(decision.checkpoint);
  EXPECT_FALSE(decision.stop());
}

TEST(Decision, OneRankThatDivergedIsEnough) {
  EXPECT_TRUE(decide({.diverged = 1}, 7, config_of(100)).diverged);
}

TEST(Decision, TheVotesAreAllAddedUp) {
  Votes votes;
  for (std::int64_t& count : votes.counts()) count = 1;
  EXPECT_EQ(votes.signal + votes.until + votes.job_end + votes.checkpoint + votes.diverged +
                votes.files_failed + votes.directory_lost,
            7);
}

Votes votes_at(Time now, double margin, const Deadlines& deadlines) {
  Votes votes;
  vote_by_clock(now, margin, deadlines, votes);
  return votes;
}

TEST(Decision, TheClockLeavesAMarginBeforeEachEnd) {
  const Time end{seconds(1000)};
  const Deadlines until{.until = end}, job{.job_end = end};
  EXPECT_EQ(votes_at(end - seconds(11), 10, until).until, 0);
  EXPECT_EQ(votes_at(end - seconds(10), 10, until).until, 1);
  EXPECT_EQ(votes_at(end + seconds(5), 10, until).until, 1);
  EXPECT_EQ(votes_at(end - seconds(11), 10, job).job_end, 0);
  EXPECT_EQ(votes_at(end - seconds(9), 10, job).job_end, 1);
  EXPECT_EQ(votes_at(end - seconds(9), 10, job).until, 0);
}

TEST(Decision, TheClockAsksForCheckpoints) {
  const Deadlines deadlines{.last_checkpoint = Time{seconds(100)}, .checkpoint_seconds = 60};
  EXPECT_EQ(votes_at(Time{seconds(159)}, 2, deadlines).checkpoint, 0);
  EXPECT_EQ(votes_at(Time{seconds(160)}, 2, deadlines).checkpoint, 1);
  EXPECT_EQ(votes_at(Time{seconds(9999)}, 2, Deadlines{}).checkpoint, 0);
}

TEST(Decision, TheMarginHoldsAnIterationAndACheckpoint) {
  EXPECT_EQ(stop_margin(0, 0), 2);
  EXPECT_EQ(stop_margin(10, 20), 50);
}

TEST(Decision, APastTimeOfDayIsRefused) {
  const Time began = std::chrono::system_clock::now();
  RunConfig run;
  EXPECT_NO_THROW(refuse_past_end(run, began));
  run.until = "3h30m";
  EXPECT_NO_THROW(refuse_past_end(run, began));
  run.until = "2001-01-01T00:00:00";
  try {
    refuse_past_end(run, began);
    FAIL() << "a start that can only stop at once";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ExitCode::configuration);
    EXPECT_NE(std::string(error.what()).find("2001-01-01T00:00:00 has passed"), std::string::npos);
  }
}

}  // namespace
}  // namespace stanley
