#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "chains/bank.hpp"
#include "sampler/device_update.hpp"

namespace stanley {
namespace {

constexpr std::int64_t total = 96, active = 24, shards = 8, per_shard = 12, passes = 4;

ChainsConfig config() { return {.total = total, .active = active, .shards = shards}; }

Bank bank(const Shards& part = {shards, 0, shards}, std::uint32_t seed = 3,
          std::uint32_t attempt = 0) {
  return {config(), {2, 3, 1}, part, seed, attempt, at::kCPU};
}

void start(ChainBatch& batch, std::int64_t iteration) {
  fill_uniform({.seed = 3, .stream = random::Stream::start_state},
               static_cast<std::uint64_t>(iteration), -1, 1, batch);
}

std::vector<std::int64_t> ids_of(const ChainBatch& batch) {
  const auto* ids = batch.ids.const_data_ptr<std::int64_t>();
  return {ids, ids + batch.ids.numel()};
}

/// One iteration that adds 1 to the states; returns the ids.
std::vector<std::int64_t> iterate(Bank& chains, std::int64_t iteration, double probability) {
  ChainBatch batch = chains.visit(iteration, probability, start);
  batch.state.add_(1.0);
  chains.put_back(batch, 5);
  return ids_of(batch);
}

TEST(Chains, EachShardVisitsItsChainsOnceInAPass) {
  Bank chains = bank();
  chains.start_all(start);
  std::vector<std::vector<std::int64_t>> orders[shards];
  for (std::int64_t pass = 0; pass < 3; ++pass) {
    std::vector<std::int64_t> order[shards];
    for (std::int64_t i = 0; i < passes; ++i) {
      const std::vector<std::int64_t> ids = iterate(chains, pass * passes + i, 0);
      ASSERT_EQ(ids.size(), static_cast<std::size_t>(active));
      for (std::size_t at = 0; at < ids.size(); ++at) {
        const auto shard = static_cast<std::int64_t>(at) / (active / shards);
        EXPECT_EQ(ids[at] / per_shard, shard);  // contiguous ids for each shard
        order[shard].push_back(ids[at] % per_shard);
      }
    }
    for (std::int64_t shard = 0; shard < shards; ++shard) {
      const std::set<std::int64_t> different(order[shard].begin(), order[shard].end());
      EXPECT_EQ(different.size(), static_cast<std::size_t>(per_shard));
      orders[shard].push_back(order[shard]);
    }
  }
  for (std::int64_t shard = 0; shard < shards; ++shard) {
    EXPECT_NE(orders[shard][0], orders[shard][1]);
    EXPECT_NE(orders[shard][1], orders[shard][2]);
    if (shard > 0) {
      EXPECT_NE(orders[shard][0], orders[shard - 1][0]);
    }
  }
  for (const std::int64_t age : chains.ages()) EXPECT_EQ(age, 3 * 5);
}

TEST(Chains, StartInPlaceAndInBlocks) {
  // 4 MiB for each state: no second bank, not even for a moment.
  Bank chains({.total = 20, .active = 2, .shards = 2}, {1024, 1024}, {2, 0, 2}, 3, 0, at::kCPU);
  const auto* first = chains.state().const_data_ptr<float>();
  std::vector<std::int64_t> ids;
  chains.start_all([&](ChainBatch& batch, std::int64_t iteration) {
    EXPECT_EQ(iteration, 0);
    EXPECT_LE(batch.state.numel() * 4, 64 << 20);
    EXPECT_EQ(batch.state.const_data_ptr<float>(), first + (ids.size() << 20));
    for (const std::int64_t id : ids_of(batch)) ids.push_back(id);
  });
  EXPECT_EQ(ids.size(), 20U);
  EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
}

TEST(Chains, SeedAndAttemptChangeTheOrder) {
  const auto first = [](std::uint32_t seed, std::uint32_t attempt) {
    return ids_of(bank({shards, 0, shards}, seed, attempt).visit(0, 0, start));
  };
  EXPECT_EQ(first(3, 0), first(3, 0));
  EXPECT_NE(first(3, 0), first(4, 0));
  EXPECT_NE(first(3, 0), first(3, 1));
}

TEST(Chains, PutBackLeavesTheOthersAlone) {
  Bank chains = bank();
  chains.start_all(start);
  const at::Tensor before = chains.state().clone();
  const std::vector<std::int64_t> ids = iterate(chains, 1, 0);
  const std::set<std::int64_t> moved(ids.begin(), ids.end());
  EXPECT_EQ(chains.restarts_in_visit(), 0);
  for (std::int64_t row = 0; row < total; ++row) {
    const bool visited = moved.count(row) == 1;
    const at::Tensor expected = visited ? before[row] + 1.0 : before[row];
    EXPECT_TRUE(at::equal(chains.state()[row], expected)) << row;
    EXPECT_EQ(chains.ages()[static_cast<std::size_t>(row)], visited ? 5 : 0);
    EXPECT_EQ(chains.restarts()[static_cast<std::size_t>(row)], 0);
  }
}

TEST(Chains, TheVisitIsACopy) {
  Bank chains = bank();
  chains.start_all(start);
  const at::Tensor before = chains.state().clone();
  ChainBatch batch = chains.visit(0, 0.5, start);
  batch.state.fill_(7.0);
  EXPECT_TRUE(at::equal(chains.state(), before));
}

TEST(Chains, RestartsAreBooked) {
  Bank chains = bank();
  chains.start_all(start);
  for (std::int64_t i = 0; i < passes; ++i) iterate(chains, i, 0);
  // Probability 1: every chain of the visit starts anew, from this iteration's numbers.
  ChainBatch batch = chains.visit(4, 1.0, start);
  EXPECT_EQ(chains.restarts_in_visit(), active);
  EXPECT_EQ(chains.visited_ages(), std::vector<std::int64_t>(active, 0));
  ChainBatch fresh{at::empty_like(batch.state), batch.ids};
  start(fresh, 4);
  EXPECT_TRUE(at::equal(batch.state, fresh.state));
  chains.put_back(batch, 5);
  EXPECT_EQ(chains.visited_ages(), std::vector<std::int64_t>(active, 5));
  EXPECT_EQ(std::accumulate(chains.restarts().begin(), chains.restarts().end(), std::int64_t{0}),
            active);
  // The others are one visit old as before.
  for (std::size_t row = 0; row < static_cast<std::size_t>(total); ++row)
    EXPECT_EQ(chains.ages()[row], 5);
  chains.start_all(start);
  EXPECT_EQ(chains.ages(), std::vector<std::int64_t>(total, 0));
  EXPECT_EQ(chains.restarts(), std::vector<std::int64_t>(total, 0));
}

TEST(Chains, RestartsComeWithTheirProbability) {
  // Null hypothesis: 24,000 independent restarts of probability 0.05. False alarm 1e-5.
  Bank chains = bank();
  chains.start_all(start);
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < 1000; ++i) {
    iterate(chains, i, 0.05);
    count += chains.restarts_in_visit();
  }
  const double n = 1000.0 * active, expected = 0.05 * n;
  EXPECT_LT(std::abs(static_cast<double>(count) - expected), 4.42 * std::sqrt(0.95 * expected));
  EXPECT_EQ(std::accumulate(chains.restarts().begin(), chains.restarts().end(), std::int64_t{0}),
            count);
  // Over chains too: 96 counts with mean 12.5. False alarm 1e-4 (χ² with 95 degrees of freedom).
  double chi_square = 0;
  const double mean = static_cast<double>(count) / total;
  for (const std::int64_t restarts : chains.restarts()) {
    chi_square += (static_cast<double>(restarts) - mean) * (static_cast<double>(restarts) - mean) /
                  (0.95 * mean);
  }
  EXPECT_LT(chi_square, 153.0);
}

TEST(Chains, NoneGetsOlderThanTheLimitAndTheyRestartOneByOne) {
  constexpr std::int64_t limit = 60, steps = 5;  // 12 visits of a chain
  ChainsConfig limited = config();
  limited.maximum_age = limit;
  Bank chains(limited, {2}, {shards, 0, shards}, 3, 0, at::kCPU);
  chains.start_all(start);
  std::vector<std::int64_t> restarts, lives(total, 0);
  for (std::int64_t iteration = 0; iteration < 60 * passes; ++iteration) {
    const std::vector<std::int64_t> before = chains.restarts();
    iterate(chains, iteration, 0);
    for (const std::int64_t age : chains.ages()) ASSERT_LE(age, limit);
    for (std::int64_t row = 0; row < total; ++row) {
      const auto at = static_cast<std::size_t>(row);
      if (chains.restarts()[at] > before[at] && before[at] > 0) {
        // Every life but the first, which a restart in another's visit can't shorten, lasts whole.
        EXPECT_EQ(iteration / passes - lives[at], limit / steps);
      }
      if (chains.restarts()[at] > before[at]) lives[at] = iteration / passes;
    }
    restarts.push_back(chains.restarts_in_visit());
  }
  // In each 12 passes all 96 chains restart once: 2 in a visit. First ages are independent, so that
  // 24 visited chains restart by a binomial law of p = 1/12: more than 12 have probability 1e-7.
  EXPECT_EQ(std::accumulate(restarts.end() - 12 * passes, restarts.end(), std::int64_t{0}), total);
  EXPECT_LE(*std::max_element(restarts.begin(), restarts.end()), 12);
  EXPECT_EQ(chains.restarts().size(), static_cast<std::size_t>(total));
}

TEST(Chains, AStageBeginsWithChainsThatJustStartedWhoseRestartsCountOn) {
  constexpr std::int64_t limit = 60, steps = 5, began = 150;
  ChainsConfig limited = config();
  limited.maximum_age = limit;
  Bank before(limited, {2, 3, 1}, {shards, 0, shards}, 3, 0, at::kCPU);
  before.start_all(start);
  for (std::int64_t iteration = 0; iteration < began; ++iteration) iterate(before, iteration, 0);
  const std::vector<std::int64_t> restarts = before.restarts();
  EXPECT_GT(*std::ranges::min_element(restarts), 0);
  limited.active = 48;
  Bank chains(limited, {2, 3, 1}, {shards, 0, shards}, 3, 0, at::kCPU);
  chains.begin_stage(before.state(), restarts, began);
  EXPECT_TRUE(at::equal(chains.state(), before.state()));
  EXPECT_EQ(chains.restarts(), restarts);
  EXPECT_EQ(chains.ages(), std::vector<std::int64_t>(total, 0));
  EXPECT_EQ(chains.arrays().back().name, "chains/restarts_before");
  EXPECT_EQ(before.arrays().back().name, "chains/restarts");
  // Each pass of the stage visits all of them; their first lives end one by one, as new chains' do.
  std::set<std::int64_t> first_pass;
  std::vector<std::int64_t> in_visit;
  for (std::int64_t iteration = began; iteration < began + 2 * (limit / steps + 1); ++iteration) {
    const std::vector<std::int64_t> ids = iterate(chains, iteration, 0);
    if (iteration < began + 2) first_pass.insert(ids.begin(), ids.end());
    in_visit.push_back(chains.restarts_in_visit());
  }
  EXPECT_EQ(first_pass.size(), static_cast<std::size_t>(total));
  // 48 visited chains restart by a binomial law of p = 1/12: more than 17 have probability 3e-7.
  EXPECT_LE(*std::ranges::max_element(in_visit), 17);
  EXPECT_EQ(std::accumulate(in_visit.begin(), in_visit.end(), std::int64_t{0}), total);
}

TEST(Chains, APassOfAStageHasAnOrderOfItsOwn) {
  Bank one = bank(), other = bank();
  one.start_all(start);
  other.begin_stage(one.state(), one.restarts(), 7);
  std::set<std::vector<std::int64_t>> orders;
  for (std::int64_t i = 0; i < 7; i += passes) orders.insert(ids_of(one.visit(i, 0, start)));
  for (std::int64_t i = 7; i < 7 + 3 * passes; i += passes) {
    orders.insert(ids_of(other.visit(i, 0, start)));
  }
  EXPECT_EQ(orders.size(), 2U + 3U);
}

TEST(Chains, ARankHoldsItsPartOfTheSameBank) {
  Bank whole = bank(), half = bank({shards, 4, 4}), uneven = bank({shards, 2, 3});
  for (Bank* chains : {&whole, &half, &uneven}) chains->start_all(start);
  EXPECT_EQ(half.first_id(), 48);
  EXPECT_EQ(half.local_count(), 48);
  EXPECT_EQ(uneven.first_id(), 24);
  EXPECT_EQ(uneven.active_per_shard(), 3);
  for (std::int64_t i = 0; i < 9; ++i) {
    const std::vector<std::int64_t> all = iterate(whole, i, 0.3);
    EXPECT_EQ(iterate(half, i, 0.3), std::vector<std::int64_t>(all.begin() + 12, all.end()));
    EXPECT_EQ(iterate(uneven, i, 0.3),
              std::vector<std::int64_t>(all.begin() + 6, all.begin() + 15));
  }
  const auto expect_part = [&](Bank& part) {
    const std::int64_t first = part.first_id(), count = part.local_count();
    EXPECT_TRUE(at::equal(part.state(), whole.state().narrow(0, first, count)));
    const auto same = [&](const std::vector<std::int64_t>& mine, std::vector<std::int64_t>& all) {
      return std::equal(mine.begin(), mine.end(), all.begin() + first);
    };
    EXPECT_TRUE(same(part.ages(), whole.ages()));
    EXPECT_TRUE(same(part.restarts(), whole.restarts()));
  };
  expect_part(half);
  expect_part(uneven);
  EXPECT_GT(std::accumulate(whole.restarts().begin(), whole.restarts().end(), std::int64_t{0}), 0);
}

}  // namespace
}  // namespace stanley
