#include "train/guard.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace stanley {
namespace {

/// A healthy record: numbers that wander a little, as a function of the iteration.
IterationRecord healthy(std::int64_t iteration) {
  const double wave = std::sin(static_cast<double>(iteration) * 1.7);
  IterationRecord record;
  record.iteration = iteration;
  record.energy_data = -0.5;
  record.energy_noise = 3;
  record.gap = 0.02 * wave;
  record.energy_chains = record.energy_data + record.gap;
  record.loss = -record.gap;
  record.gradient_norm = 0.5 * std::exp(0.2 * wave);
  record.parameter_norm = 5;
  record.chain_scale = 0.7;
  record.chain_spread = 0.5;
  record.saturation = 0.6;
  return record;
}

Guard after(std::int64_t iterations, const GuardConfig& config = {}) {
  Guard guard(config, {.spread = 0.5});
  for (std::int64_t i = 0; i < iterations; ++i) EXPECT_FALSE(guard.observe(healthy(i)));
  return guard;
}

/// How often `record` must be seen until the guard speaks; 0: not within ten times.
int seen_until(Guard guard, const IterationRecord& record) {
  for (int i = 1; i <= 10; ++i) {
    if (guard.observe(record)) return i;
  }
  return 0;
}

TEST(Guard, NumbersThatAreNotFiniteAreSeenAtOnce) {
  for (double IterationRecord::*const member :
       {&IterationRecord::loss, &IterationRecord::gradient_norm, &IterationRecord::parameter_norm,
        &IterationRecord::chain_scale}) {
    for (const double value : {std::nan(""), std::numeric_limits<double>::infinity()}) {
      IterationRecord record = healthy(0);
      record.*member = value;
      EXPECT_EQ(seen_until(Guard({}, {.spread = 0.5}), record), 1);
      EXPECT_EQ(seen_until(after(100), record), 1);
    }
  }
}

TEST(Guard, EachWayOutOfBandIsSeenAfterItsPatience) {
  const auto changed = [](double IterationRecord::*member, double value) {
    IterationRecord record = healthy(100);
    record.*member = value;
    return record;
  };
  const Guard guard = after(100);
  EXPECT_EQ(seen_until(guard, changed(&IterationRecord::gap, 2.0)), 3);
  EXPECT_EQ(seen_until(guard, changed(&IterationRecord::gap, -2.0)), 3);
  EXPECT_EQ(seen_until(guard, changed(&IterationRecord::gradient_norm, 500.0)), 3);
  EXPECT_EQ(seen_until(guard, changed(&IterationRecord::chain_spread, 0.001)), 3);
  EXPECT_EQ(seen_until(guard, changed(&IterationRecord::saturation, 0.999)), 3);
  EXPECT_EQ(seen_until(after(100, {.patience = 1}), changed(&IterationRecord::gap, 2.0)), 1);
  // A gradient that becomes small is no divergence.
  EXPECT_EQ(seen_until(guard, changed(&IterationRecord::gradient_norm, 1e-6)), 0);
}

TEST(Guard, ChainsThatAreLeftBehindAreSeen) {
  Guard guard({}, {.spread = 0.5});
  std::int64_t at = 0;
  for (; at < 500; ++at) {
    IterationRecord record = healthy(at);
    record.gap += 0.01 * static_cast<double>(at);  // so slowly that no band is ever left
    if (const auto found = guard.observe(record)) {
      EXPECT_NE(found->seen.find("keep up"), std::string::npos) << found->seen;
      break;
    }
  }
  EXPECT_GT(at, 150);
  EXPECT_LT(at, 400);
}

TEST(Guard, OneWildIterationAndTheFirstOnesAreForgiven) {
  IterationRecord wild = healthy(0);
  wild.gap = 50;
  Guard young({}, {.spread = 0.5});
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(young.observe(wild));
  Guard guard = after(100);
  for (std::int64_t i = 0; i < 31; ++i) {
    EXPECT_FALSE(guard.observe(i % 3 == 0 ? healthy(i) : wild)) << "two in a row are no divergence";
  }
  // What is out of band has not widened it.
  EXPECT_EQ(seen_until(guard, wild), 3);
}

TEST(Guard, GoesOnFromACheckpointAsIfItHadNotStopped) {
  Guard whole = after(80);
  Progress progress;
  whole.add_to(progress);
  Guard resumed({}, {.spread = 0.5});
  resumed.restore(progress);
  IterationRecord record = healthy(80);
  record.gap = 2;
  whole.observe(record);
  resumed.observe(record);
  Progress first, second;
  whole.add_to(first);
  resumed.add_to(second);
  EXPECT_EQ(first, second);
  EXPECT_EQ(std::get<std::int64_t>(first.at("guard_out_of_band")), 1);
}

TEST(Guard, OneActiveChainHasNoSpread) {
  const auto seen = [](std::int64_t active_chains) {
    Guard guard({}, {.spread = 0.5, .active_chains = active_chains});
    for (std::int64_t i = 0; i < 100; ++i) EXPECT_FALSE(guard.observe(healthy(i)));
    IterationRecord record = healthy(100);
    record.chain_spread = 0;
    return seen_until(guard, record);
  };
  EXPECT_EQ(seen(1), 0);
  EXPECT_GT(seen(2), 0);
}

TEST(Guard, SparseDataLieOnTheBoxToo) {
  const auto seen = [](double of_data, double of_chains) {
    Guard guard({}, {.spread = 0.5, .saturation = of_data});
    for (std::int64_t i = 0; i < 100; ++i) EXPECT_FALSE(guard.observe(healthy(i)));
    IterationRecord record = healthy(100);
    record.saturation = of_chains;
    return seen_until(guard, record);
  };
  EXPECT_EQ(seen(0.997, 0.997), 0);
  EXPECT_GT(seen(0.997, 0.99999), 0);
  EXPECT_GT(seen(0, 0.997), 0);
}

TEST(Guard, AnEnergyOfNoiseThatIsNoNumberIsForgotten) {
  Guard guard = after(100);
  IterationRecord record = healthy(100);
  record.energy_noise = std::nan("");
  EXPECT_FALSE(guard.observe(record));
  Progress progress;
  guard.add_to(progress);
  EXPECT_TRUE(std::isfinite(std::get<double>(progress.at("guard_reach_mean"))));
}

}  // namespace
}  // namespace stanley
