#include "measure/scaling_model.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace stanley {
namespace {

/// 64 chains that take 10 ms each, nothing else.
ScalingInputs chains_alone() {
  ScalingInputs inputs;
  inputs.work = {{1, 0.02, 0}, {4, 0.04, 0}, {64, 0.64, 0}};
  inputs.active_chains = 64;
  inputs.finest_shards = 32;
  inputs.chains_per_rank = 64;
  inputs.network.network = {0, 1e300};
  inputs.network.node = {0, 1e300};
  inputs.network.overhead = 0;
  return inputs;
}

TEST(ScalingModel, WithoutCommunicationWeakScalingIsIdeal) {
  const ScalingInputs inputs = chains_alone();
  for (const std::int64_t ranks : {1, 8, 4096}) {
    const IterationPrediction p = predict_weak(inputs, ranks);
    EXPECT_DOUBLE_EQ(p.seconds(), 0.64);
    EXPECT_DOUBLE_EQ(p.efficiency, 1);
    EXPECT_EQ(p.bound(), "chains");
  }
}

TEST(ScalingModel, StrongScalingFollowsTheMeasuredTimesOfSmallBatches) {
  const ScalingInputs inputs = chains_alone();
  EXPECT_DOUBLE_EQ(predict_strong(inputs, 16).seconds(), 0.04);  // measured
  EXPECT_DOUBLE_EQ(predict_strong(inputs, 16).efficiency, 1);
  EXPECT_NEAR(predict_strong(inputs, 32).seconds(), 0.02 + 0.02 / 3, 1e-12);  // on the line
  EXPECT_NEAR(predict_strong(inputs, 32).efficiency, 0.02 / (0.02 + 0.02 / 3), 1e-12);
  // 32 shards on 12 ranks: some have three, 6 chains.
  EXPECT_EQ(predict_strong(inputs, 12).chains, 6);
}

TEST(ScalingModel, StrongScalingEndsWhereTheNetworkTakesOver) {
  ScalingInputs inputs = chains_alone();
  EXPECT_EQ(find_strong_limit(inputs).fastest, 32);
  EXPECT_EQ(find_strong_limit(inputs).efficient, 32);
  inputs.message_bytes = 1e6;
  inputs.network.network = {5e-3, 1e300};
  const StrongLimit limit = find_strong_limit(inputs);
  EXPECT_LT(limit.fastest, 32);
  EXPECT_LT(limit.efficient, 8);
  EXPECT_EQ(predict_strong(inputs, 32).bound(), "network latency");
  EXPECT_LT(predict_strong(inputs, limit.fastest).seconds(), predict_strong(inputs, 32).seconds());
}

TEST(ScalingModel, WaitingGrowsWithTheRanks) {
  ScalingInputs inputs = chains_alone();
  inputs.jitter = 0.1;
  EXPECT_EQ(predict_weak(inputs, 1).waiting_seconds, 0);
  EXPECT_NEAR(predict_weak(inputs, 4096).waiting_seconds, 0.064 * std::sqrt(2 * std::log(4096)),
              1e-12);
}

TEST(ScalingModel, FilesCountWhereTheyAreLateOnly) {
  ScalingInputs inputs = chains_alone();
  inputs.checkpoint_every = 10;
  inputs.checkpoint_bytes_per_chain = 1e6;
  inputs.file_bandwidth = 1e9;
  EXPECT_EQ(predict_weak(inputs, 1).file_seconds, 0);  // 0.128 s beside 6.4 s
  // 100 times 64 MB, twice, take 12.8 s.
  EXPECT_NEAR(predict_weak(inputs, 100).file_seconds, (12.8 - 6.4) / 10, 1e-9);
  inputs.copy_seconds_per_byte = 1e-9;
  EXPECT_NEAR(predict_weak(inputs, 1).file_seconds, 0.0064, 1e-12);
}

TEST(ScalingModel, BothSumsAreModelled) {
  ScalingInputs inputs = chains_alone();
  inputs.network.network = {1e-6, 1e9};
  inputs.message_bytes = 1e6;
  const double plain = predict_weak(inputs, 64).bandwidth_seconds;
  inputs.ordered = true;
  inputs.parts_per_rank = 4;
  EXPECT_GT(predict_weak(inputs, 64).bandwidth_seconds, 2 * plain);  // four vectors of each rank
}

}  // namespace
}  // namespace stanley
