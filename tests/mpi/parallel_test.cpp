#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <thread>

#include "parallel/agree.hpp"
#include "parallel/device.hpp"
#include "parallel/mpi_handle.hpp"
#include "parallel/reducer.hpp"
#include "parallel/shard_exchange.hpp"
#include "parallel/threads.hpp"
#include "test_session.hpp"

namespace stanley {
namespace {

Communicator& world() { return test_session().world(); }
std::size_t ranks() { return static_cast<std::size_t>(world().size()); }
std::size_t rank() { return static_cast<std::size_t>(world().rank()); }

/// Floats of very different size, so that any other order of additions gives other bits.
std::vector<float> shard_gradient(std::size_t shard, std::size_t size) {
  std::mt19937 generator(static_cast<unsigned>(shard + 1));
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> exponent(-12, 12);
  std::vector<float> values(size);
  for (float& value : values) value = normal(generator) * std::exp2(exponent(generator));
  return values;
}

/// Shards [first, last) one after the other.
std::vector<float> shard_gradients(std::size_t first, std::size_t last, std::size_t size) {
  std::vector<float> values;
  for (std::size_t shard = first; shard < last; ++shard) {
    const std::vector<float> one = shard_gradient(shard, size);
    values.insert(values.end(), one.begin(), one.end());
  }
  return values;
}

/// Where rank r's contiguous shards begin; uneven if the ranks don't divide the shards.
std::size_t first_shard(std::size_t r, std::size_t shards) { return r * shards / ranks(); }

std::vector<float> my_gradients(std::size_t shards, std::size_t size) {
  return shard_gradients(first_shard(rank(), shards), first_shard(rank() + 1, shards), size);
}

std::vector<float> sum_in_shard_order(std::size_t shards, std::size_t size) {
  std::vector<float> total = shard_gradient(0, size);
  for (std::size_t shard = 1; shard < shards; ++shard) {
    const std::vector<float> one = shard_gradient(shard, size);
    for (std::size_t i = 0; i < size; ++i) total[i] += one[i];
  }
  return total;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(Communicator, SumsOverRanks) {
  std::vector<double> doubles{1.0, static_cast<double>(rank())};
  std::vector<float> floats{0.5f};
  std::vector<std::int64_t> integers{std::int64_t{1} << 40};
  world().sum(std::span(doubles));
  world().sum(std::span(floats));
  world().sum(std::span(integers));
  const auto size = static_cast<double>(ranks());
  EXPECT_EQ(doubles[0], size);
  EXPECT_EQ(doubles[1], size * (size - 1) / 2);
  EXPECT_EQ(floats[0], 0.5f * static_cast<float>(size));
  EXPECT_EQ(integers[0], world().size() * (std::int64_t{1} << 40));
}

TEST(Communicator, FindsSmallestAndLargest) {
  EXPECT_EQ(world().max(world().rank()), world().size() - 1);
  EXPECT_EQ(world().min(world().rank()), 0);
}

TEST(Communicator, BroadcastsFromAnyRank) {
  for (int root = 0; root < world().size(); ++root) {
    const std::string expected = "from rank " + std::to_string(root) + std::string(1000, 'x');
    EXPECT_EQ(world().broadcast(world().rank() == root ? expected : "mine", root), expected);
  }
  EXPECT_EQ(world().broadcast(std::string(), 0), "");
}

TEST(Communicator, GathersTextsOfDifferentLengths) {
  const auto text = [](std::size_t r) { return std::string((r + 1) % 3 * 3, 'a'); };  // one empty
  const std::vector<std::string> texts = world().all_gather(text(rank()));
  ASSERT_EQ(texts.size(), ranks());
  for (std::size_t r = 0; r < ranks(); ++r) EXPECT_EQ(texts[r], text(r));
}

TEST(Communicator, ExchangesUnevenParts) {
  // Rank a sends (a + b + 1) % 4 numbers 10 a + b to rank b: none from 1 to 2, and from 0 to 3.
  std::vector<int> counts;
  std::vector<float> send;
  std::vector<float> expected;
  for (std::size_t b = 0; b < ranks(); ++b) {
    const std::size_t count = (rank() + b + 1) % 4;
    counts.push_back(static_cast<int>(count));
    send.insert(send.end(), count, static_cast<float>(10 * rank() + b));
    expected.insert(expected.end(), count, static_cast<float>(10 * b + rank()));
  }
  for (const auto exchange : {Communicator::Exchange::at_once, Communicator::Exchange::pairwise}) {
    std::vector<float> receive(expected.size(), -1);
    world().all_to_all(send, counts, receive, counts, exchange);
    EXPECT_EQ(receive, expected);
  }
}

TEST(Communicator, GathersUnevenParts) {
  // Rank r gives the number r + 1, (r + 1) % 3 times: rank 2 gives none.
  const auto part = [](std::size_t r) {
    return std::vector<float>((r + 1) % 3, static_cast<float>(r + 1));
  };
  std::vector<int> each;
  std::vector<float> expected;
  for (std::size_t r = 0; r < ranks(); ++r) {
    const std::vector<float> one = part(r);
    each.push_back(static_cast<int>(one.size()));
    expected.insert(expected.end(), one.begin(), one.end());
  }
  std::vector<float> all(expected.size(), -1);
  world().all_gather(part(rank()), all, each);
  EXPECT_EQ(all, expected);
}

TEST(Communicator, DuplicateServesAnotherThread) {
  if (!test_session().threads_may_communicate()) GTEST_SKIP() << "MPI without threads";
  const auto other = world().duplicate(Waiting::sleep);
  std::vector<std::int64_t> from_thread{1};
  std::thread thread([&] {
    for (int i = 0; i < 20; ++i) other->barrier();
    other->sum(std::span(from_thread));
  });
  std::vector<std::int64_t> from_here{2};
  for (int i = 0; i < 20; ++i) world().barrier();
  world().sum(std::span(from_here));
  thread.join();
  EXPECT_EQ(from_thread[0], world().size());
  EXPECT_EQ(from_here[0], 2 * world().size());
}

TEST(Communicator, HandleIsThereWithMpiOnly) {
  EXPECT_EQ(mpi_communicator(world()) != MPI_COMM_NULL, test_session().uses_mpi());
}

TEST(Session, KnowsItsNeighbours) {
  EXPECT_EQ(test_session().hosts().size(), ranks());
  EXPECT_LT(test_session().local_rank(), test_session().local_size());
  EXPECT_LE(test_session().local_size(), world().size());
  const std::vector<int>& neighbours = test_session().neighbours();
  EXPECT_EQ(neighbours.size(), static_cast<std::size_t>(test_session().local_size()));
  EXPECT_EQ(neighbours[static_cast<std::size_t>(test_session().local_rank())], world().rank());
  EXPECT_TRUE(std::is_sorted(neighbours.begin(), neighbours.end()));
  std::string text;
  for (const int rank : neighbours) text += std::to_string(rank) + " ";
  const std::vector<std::string> all = world().all_gather(text);
  for (const int rank : neighbours) EXPECT_EQ(all[static_cast<std::size_t>(rank)], text);
}

TEST(Agree, PassesWhenAllIsWell) {
  int calls = 0;
  agree(world(), [&] { ++calls; });
  EXPECT_EQ(calls, 1);
}

TEST(Agree, AllRanksFailLikeTheFailingOne) {
  for (int failing = 0; failing < world().size(); ++failing) {
    const std::string message = "rank " + std::to_string(failing) + " found\nno file";
    try {
      agree(world(), [&] {
        if (world().rank() == failing) throw Error(ExitCode::input_output, message);
      });
      FAIL() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ExitCode::input_output);
      EXPECT_EQ(error.what(), message);
    }
  }
}

TEST(Agree, FirstFailingRankSpeaks) {
  try {
    agree(world(),
          [&] { throw std::runtime_error("from rank " + std::to_string(world().rank())); });
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ExitCode::bug);
    EXPECT_TRUE(std::string(error.what()).starts_with("from rank 0; please report this bug"));
  }
}

struct Shape {
  std::size_t shards, size;
};

class ReducerOfShape : public testing::TestWithParam<Shape> {};

TEST_P(ReducerOfShape, OrderedGivesTheBitsOfOneRank) {
  const auto [shards, size] = GetParam();
  const auto reducer = make_reducer(world(), Transport::mpi, Summation::by_shard);
  const std::vector<float> parts = my_gradients(shards, size);
  std::vector<float> total(size);
  for (int repeat = 0; repeat < 2; ++repeat) {
    reducer->reduce(parts, total);
    EXPECT_TRUE(same_bits(total, sum_in_shard_order(shards, size)));
  }
}

TEST_P(ReducerOfShape, PlainIsRightToRounding) {
  const auto [shards, size] = GetParam();
  const auto reducer = make_reducer(world(), Transport::mpi, Summation::plain);
  std::vector<float> total(size);
  reducer->reduce(my_gradients(shards, size), total);
  const std::vector<float> expected = sum_in_shard_order(shards, size);
  std::vector<float> magnitude(size, 0.0f);
  for (std::size_t shard = 0; shard < shards; ++shard) {
    const std::vector<float> one = shard_gradient(shard, size);
    for (std::size_t i = 0; i < size; ++i) magnitude[i] += std::fabs(one[i]);
  }
  for (std::size_t i = 0; i < size; ++i) {
    EXPECT_NEAR(total[i], expected[i], 1e-6f * magnitude[i]) << i;
  }
}

// Shards that 2, 3 and 4 ranks deal evenly and not; vectors shorter than the ranks, too.
INSTANTIATE_TEST_SUITE_P(Shapes, ReducerOfShape,
                         testing::Values(Shape{12, 1000}, Shape{7, 997}, Shape{4, 1}, Shape{5, 3},
                                         Shape{8, 40001}),
                         [](const auto& shape) {
                           return std::to_string(shape.param.shards) + "x" +
                                  std::to_string(shape.param.size);
                         });

TEST(Reducer, OrderedReducesInPlace) {
  const std::size_t size = 101;
  const auto reducer = make_reducer(world(), Transport::mpi, Summation::by_shard);
  std::vector<float> values = shard_gradient(rank(), size);
  reducer->reduce(values, values);
  EXPECT_TRUE(same_bits(values, sum_in_shard_order(ranks(), size)));
}

TEST(Reducer, TakesTurnsBetweenLengths) {
  const auto reducer = make_reducer(world(), Transport::mpi, Summation::by_shard);
  for (const std::size_t size : {1000U, 10U, 1U, 2000U}) {
    std::vector<float> total(size);
    reducer->reduce(my_gradients(6, size), total);
    EXPECT_TRUE(same_bits(total, sum_in_shard_order(6, size)));
  }
}

TEST(Reducer, LongVectorsGoInBlocks) {
  // 2^24 floats in flight: with 8 shards a block is 2^21 floats.
  const std::size_t size = (std::size_t{1} << 21) + 5;
  const std::size_t shards = 8;
  const std::size_t mine = first_shard(rank() + 1, shards) - first_shard(rank(), shards);
  ASSERT_LT(plan_exchange(world(), mine, size).block, size);
  const auto reducer = make_reducer(world(), Transport::mpi, Summation::by_shard);
  // Cheap numbers that still don't add exactly.
  std::vector<float> parts;
  const auto value = [](std::size_t shard, std::size_t i) {
    return static_cast<float>(i % 1013) / 7.0f +
           std::ldexp(1.0f / 3.0f, 2 * static_cast<int>(shard));
  };
  for (std::size_t shard = first_shard(rank(), shards); shard < first_shard(rank() + 1, shards);
       ++shard) {
    for (std::size_t i = 0; i < size; ++i) parts.push_back(value(shard, i));
  }
  std::vector<float> total(size);
  reducer->reduce(parts, total);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < size; ++i) {
    float sum = value(0, i);
    for (std::size_t shard = 1; shard < shards; ++shard) sum += value(shard, i);
    if (sum != total[i]) ++wrong;
  }
  EXPECT_EQ(wrong, 0u);
}

TEST(Reducer, RefusesVectorsOfDifferentLengths) {
  if (ranks() == 1) GTEST_SKIP() << "needs two ranks";
  std::vector<float> values(10 + rank());
  try {
    make_reducer(world(), Transport::mpi, Summation::by_shard)->reduce(values, values);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ExitCode::bug);
  }
}

TEST(Device, AllRanksComputeOnTheCpuIfAsked) {
  const Device device = choose_device(DeviceKind::cpu, test_session());
  EXPECT_EQ(device.kind, DeviceKind::cpu);
  EXPECT_EQ(transport_for(device), Transport::mpi);
  const int threads = threads_per_rank(test_session());
  EXPECT_GE(threads, 1);
  EXPECT_EQ(threads_per_rank(test_session(), 3), 3);
  const std::string table = topology_table(test_session(), device, threads);
  EXPECT_EQ(static_cast<std::size_t>(std::count(table.begin(), table.end(), '\n')), 1 + ranks());
}

TEST(CommonPrecision, IsBfloat16OnlyWhereEveryRankHasIt) {
  using enum Precision;
  EXPECT_EQ(common_precision(automatic, bfloat16, world()), bfloat16);
  EXPECT_EQ(common_precision(automatic, float32, world()), float32);
  const Precision mixed = world().rank() == world().size() - 1 ? float32 : bfloat16;
  EXPECT_EQ(common_precision(automatic, mixed, world()), float32);
  // Asked for, it is what all compute in.
  EXPECT_EQ(common_precision(bfloat16, float32, world()), bfloat16);
}

}  // namespace
}  // namespace stanley
