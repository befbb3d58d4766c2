#include "evaluation/long_run.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "storage/json_values.hpp"

namespace stanley {
namespace {

TEST(LongRun, IsLookedAtOnALogarithmicScale) {
  EXPECT_EQ(steps_to_tell(10000, 1),
            (std::vector<std::int64_t>{0, 10, 22, 46, 100, 215, 464, 1000, 2154, 4642, 10000}));
  EXPECT_EQ(steps_to_tell(1, 1), (std::vector<std::int64_t>{0, 1}));
  EXPECT_EQ(steps_to_tell(50, 20), (std::vector<std::int64_t>{0, 20, 50}));
}

LongRunPoint point(std::int64_t step, const char* start, double energy, double kid) {
  return {step, start, {energy, energy - 0.1, energy + 0.1}, kid, kid - 0.01, kid + 0.01};
}

/// From the same starts to these ends: mean energies and KID of bank, data and noise.
LongRun run(const std::vector<double>& energies, const std::vector<double>& kid) {
  LongRun run{100, 256};
  run.points = {point(0, "bank", 1, 0.1),
                point(0, "data", 0, 0),
                point(0, "noise", 9, 2),
                point(100, "bank", energies[0], kid[0]),
                point(100, "data", energies[1], kid[1]),
                point(100, "noise", energies[2], kid[2])};
  judge(run);
  return run;
}

TEST(LongRun, IsStableWhereChainsStayAndForgetTheirStarts) {
  const LongRun found = run({1, 1.05, 0.95}, {0.1, 0.105, 0.095});
  EXPECT_EQ(found.verdict, "stable");
  EXPECT_TRUE(found.reasons.empty());
  // Intervals that touch don't differ, and nearer than the bank was is no fault.
  EXPECT_EQ(run({1, 1.19, 1}, {0.119, 0.119, 0.119}).verdict, "stable");
  EXPECT_EQ(run({0, 0, 0}, {0, 0, 0}).verdict, "stable");
}

TEST(LongRun, IsShortRunWhereChainsLeave) {
  const LongRun found = run({1, 1, 1}, {0.2, 0.2, 0.2});
  EXPECT_EQ(found.verdict, "short-run generator");
  ASSERT_EQ(found.reasons.size(), 3U);
  EXPECT_NE(found.reasons[0].find("from bank ends at 200 (190 to 210), above 100"),
            std::string::npos)
      << found.reasons[0];
}

TEST(LongRun, IsShortRunWhereStartsAreRemembered) {
  const LongRun energies = run({1, 1, 5}, {0.1, 0.1, 0.1});
  EXPECT_EQ(energies.verdict, "short-run generator");
  EXPECT_EQ(energies.reasons.size(), 2U);  // noise against bank, and against data
  const LongRun kid = run({1, 1, 1}, {0.1, 0.05, 0.1});
  EXPECT_EQ(kid.verdict, "short-run generator");
  EXPECT_EQ(kid.reasons.size(), 2U);
}

TEST(LongRun, WithoutIntervalsThereIsNoVerdict) {
  LongRun found = run({1, 1, 1}, {0.1, 0.1, 0.1});
  found.points[4].kid_low.reset();
  found.reasons.clear();
  judge(found);
  EXPECT_EQ(found.verdict, "none");
  EXPECT_EQ(found.reasons.size(), 1U);
}

TEST(LongRun, TellsItsRule) {
  const auto json = as_json(run({1, 1, 1}, {0.1, 0.1, 0.1}));
  EXPECT_EQ(json["rule"], long_run_rule);
  EXPECT_EQ(json["points"].size(), 6U);
  EXPECT_EQ(json["points"][4]["start"], "data");
}

TEST(LongRun, PointsComeBackBitForBit) {
  LongRunPoint exact = point(7, "noise", 1.0 / 3, 0.1);
  exact.energy.low.reset();
  exact.kid_high.reset();
  const LongRunPoint back = point_of(from_bytes<nlohmann::json>(to_bytes(as_json(exact))));
  EXPECT_EQ(back.step, 7);
  EXPECT_EQ(back.start, "noise");
  EXPECT_EQ(back.energy.value, exact.energy.value);
  EXPECT_EQ(back.energy.low, std::nullopt);
  EXPECT_EQ(back.energy.high, exact.energy.high);
  EXPECT_EQ(back.kid, exact.kid);
  EXPECT_EQ(back.kid_low, exact.kid_low);
  EXPECT_EQ(back.kid_high, std::nullopt);
}

}  // namespace
}  // namespace stanley
