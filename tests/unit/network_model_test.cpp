#include "parallel/network_model.hpp"

#include <gtest/gtest.h>

namespace stanley {
namespace {

/// One rank on each node, 1 ms, 1 MB/s: a step of m bytes takes 1 + m/1000 ms.
NetworkModel slow_network() {
  NetworkModel model;
  model.network = {1e-3, 1e6};
  model.node = {1e-6, 1e9};
  model.eager_bytes = 1e9;
  model.overhead = 0;
  return model;
}

double milliseconds(const CollectiveCost& cost) { return 1e3 * cost.seconds(); }

TEST(NetworkModel, OneRankSaysNothing) {
  EXPECT_EQ(all_reduce_cost(slow_network(), 1, 1e6).seconds(), 0);
  EXPECT_EQ(ordered_sum_cost(slow_network(), 1, 8, 1e6).seconds(), 0);
}

TEST(NetworkModel, SmallMessagesGoByRecursiveDoubling) {
  const NetworkModel model = slow_network();
  EXPECT_EQ(all_reduce_algorithm(model, 8, 1000), "recursive doubling");
  EXPECT_DOUBLE_EQ(milliseconds(all_reduce_cost(model, 8, 1000)), 3 * (1 + 1));
  // Beyond a power of two: one message in, one out.
  EXPECT_DOUBLE_EQ(milliseconds(all_reduce_cost(model, 10, 1000)), (3 + 2) * (1 + 1));
}

TEST(NetworkModel, LargeMessagesAreHalvedAndDoubled) {
  const NetworkModel model = slow_network();
  EXPECT_EQ(all_reduce_algorithm(model, 4, 400e3), "Rabenseifner");
  const CollectiveCost cost = all_reduce_cost(model, 4, 400e3);
  EXPECT_DOUBLE_EQ(1e3 * cost.latency, 4);
  EXPECT_DOUBLE_EQ(1e3 * cost.bandwidth, 2 * 400 * 3 / 4);  // 2 (N - 1) / N of the vector
}

TEST(NetworkModel, TwoRanksRingInBetween) {
  const NetworkModel model = slow_network();
  EXPECT_EQ(all_reduce_algorithm(model, 2, 100e3), "ring");
  EXPECT_DOUBLE_EQ(milliseconds(all_reduce_cost(model, 2, 100e3)), 2 * (1 + 50));
}

TEST(NetworkModel, LongMessagesAskFirst) {
  NetworkModel model = slow_network();
  const double before = all_reduce_cost(model, 4, 400e3).latency;
  model.eager_bytes = 150e3;  // halves ask, quarters don't
  EXPECT_DOUBLE_EQ(all_reduce_cost(model, 4, 400e3).latency, before + 2 * 2e-3);
}

TEST(NetworkModel, RanksOfANodeShareItsLink) {
  NetworkModel model = slow_network();
  model.ranks_per_node = 2;
  // The halves stay inside; quarters cross, two of each node at once.
  const CollectiveCost cost = all_reduce_cost(model, 4, 400e3);
  EXPECT_DOUBLE_EQ(cost.latency, 2 * 1e-6 + 2 * 1e-3);
  EXPECT_DOUBLE_EQ(cost.bandwidth, 2 * 200e3 / 1e9 + 2 * 2 * 100e3 / 1e6);
}

TEST(NetworkModel, OrderedSumExchangesSlicesAndGathersSums) {
  // Eight parts of 400 kB on 4 ranks: each rank sends 2 x 100 kB to each other one, then gathers
  // three slices of 100 kB (Bruck: one, then two). Before that, a table of 64 bytes.
  const CollectiveCost cost = ordered_sum_cost(slow_network(), 4, 8, 400e3);
  EXPECT_DOUBLE_EQ(1e3 * cost.latency, 2 + 3 + 2);
  EXPECT_NEAR(1e3 * cost.bandwidth, 2 * 0.064 + 3 * 200 + 300, 1e-9);
  // Eight parts of 40 MB go in five exchanges through a buffer of 67 MB, and with slices of 2 MB
  // neighbours gather in two steps.
  EXPECT_DOUBLE_EQ(1e3 * ordered_sum_cost(slow_network(), 4, 8, 40e6).latency, 2 + 5 * (3 + 2));
}

TEST(NetworkModel, NcclTakesTheTreeWhereTheRingIsLong) {
  NetworkModel model = slow_network();
  model.library = NetworkModel::Library::nccl;
  EXPECT_EQ(all_reduce_algorithm(model, 2, 1e6), "ring");
  EXPECT_EQ(all_reduce_algorithm(model, 512, 1000), "double binary tree");
  EXPECT_DOUBLE_EQ(1e3 * all_reduce_cost(model, 512, 1000).latency, 2 * 9);
  // With much to send the ring's last hundredth counts more than its latency.
  EXPECT_EQ(all_reduce_algorithm(model, 8, 1e9), "ring");
}

/// More bytes, more latency or less bandwidth never make it faster.
class EveryNumberOfRanks : public testing::TestWithParam<std::int64_t> {};

TEST_P(EveryNumberOfRanks, CostsGrowWithLatencyAndFallWithBandwidth) {
  for (const auto library : {NetworkModel::Library::open_mpi, NetworkModel::Library::nccl}) {
    for (const double bytes : {4.0, 1e3, 1e5, 1e7}) {
      NetworkModel model = slow_network();
      model.library = library;
      const double cost = all_reduce_cost(model, GetParam(), bytes).seconds();
      const double ordered = ordered_sum_cost(model, GetParam(), GetParam(), bytes).seconds();
      EXPECT_GT(cost, 0);
      model.network.latency *= 2;
      EXPECT_GT(all_reduce_cost(model, GetParam(), bytes).seconds(), cost);
      EXPECT_GT(ordered_sum_cost(model, GetParam(), GetParam(), bytes).seconds(), ordered);
      model = slow_network();
      model.library = library;
      model.network.bandwidth *= 2;
      EXPECT_LT(all_reduce_cost(model, GetParam(), bytes).seconds(), cost);
      EXPECT_LT(ordered_sum_cost(model, GetParam(), GetParam(), bytes).seconds(), ordered);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(NetworkModel, EveryNumberOfRanks,
                         testing::Values(2, 3, 4, 7, 8, 16, 31, 64, 100, 128, 256, 512, 1000, 1024,
                                         2048, 4096, 5000));

}  // namespace
}  // namespace stanley
