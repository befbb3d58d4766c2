#include "kernels/loop_threads.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <array>
#include <set>
#include <thread>

#include "energy/gradient_engine.hpp"
#include "energy/operation_times.hpp"
#include "energy/weight_gradient.hpp"
#include "engines/factory.hpp"
#include "engines/state_blocks.hpp"
#include "sampling/setup.hpp"

namespace stanley {
namespace {

/// The threads that work on `count` states in blocks of at most 16.
std::set<int> workers(std::int64_t count) {
  const at::Tensor state = at::zeros({count, 3});
  at::Tensor energy = at::empty({count}, at::kDouble), gradient = at::empty_like(state);
  std::vector<int> workspaces, by_block(static_cast<std::size_t>(count), -1);
  evaluate_in_blocks(
      16, {state, energy, &gradient}, workspaces, [] { return 0; },
      [&](int&, const StateBatch& block) {
        const auto first = (block.states - state.const_data_ptr<float>()) / 3;
        EXPECT_GE(block.count, 1);
        EXPECT_LE(block.count, 16);
        for (std::int64_t i = first; i < first + block.count; ++i) {
          EXPECT_EQ(by_block[static_cast<std::size_t>(i)], -1);
          by_block[static_cast<std::size_t>(i)] = omp_get_thread_num();
        }
      });
  return {by_block.begin(), by_block.end()};
}

TEST(LoopThreads, AFewStatesGiveAllThreadsWork) {
  EXPECT_EQ(loop_threads(), 1);
  for (const int threads : {1, 2, 3}) {
    const LoopThreads these(threads);
    for (const std::int64_t count : {0, 1, 2, 3, 8, 15, 16, 17, 33, 48, 49, 100}) {
      const std::set<int> found = workers(count);
      EXPECT_EQ(static_cast<std::int64_t>(found.size()), std::min<std::int64_t>(threads, count));
      EXPECT_FALSE(found.contains(-1));
    }
  }
  EXPECT_EQ(loop_threads(), 1);
}

TEST(LoopThreads, SharedBlocksAreWholeTogether) {
  for (std::int64_t blocks = 0; blocks < 20; ++blocks) {
    for (std::int64_t threads = 1; threads < 20; ++threads) {
      std::vector<std::int64_t> rows(static_cast<std::size_t>(blocks));  // that are worked on, of 7
      bool all_work = true;
      for (std::int64_t thread = 0; thread < threads; ++thread) {
        const BlockPlan plan = BlockPlan::of(blocks, threads, thread);
        for (std::int64_t i = thread; i < plan.alone; i += threads) {
          rows[static_cast<std::size_t>(i)] += 7;
        }
        all_work = all_work && (plan.shared >= 0 || thread < plan.alone);
        if (plan.shared < 0) continue;
        EXPECT_TRUE(plan.share.together);
        ASSERT_GE(plan.shared, plan.alone);
        ASSERT_LT(plan.shared, blocks);
        rows[static_cast<std::size_t>(plan.shared)] += plan.share.end(7) - plan.share.first(7);
      }
      for (const std::int64_t found : rows) EXPECT_EQ(found, 7) << blocks << ' ' << threads;
      // Or there is a block for more than every other thread.
      EXPECT_TRUE(all_work || 2 * blocks > threads || blocks == 0) << blocks << ' ' << threads;
    }
  }
}

/// The share of the arithmetic of `work` that this thread does where two work.
template <typename Work>
double share_of_two(const Work& work) {
  const auto flops = [&] {
    const OperationTimes times;
    work();
    double sum = 0;
    for (std::size_t i = 0; i < operation_count; ++i) sum += times.flops(static_cast<Operation>(i));
    return sum;
  };
  const double alone = flops();
  const LoopThreads two(2);
  return flops() / alone;
}

constexpr std::pair<EnergyType, Precision> kinds[] = {{EnergyType::convnet, Precision::float32},
                                                      {EnergyType::convnet, Precision::bfloat16},
                                                      {EnergyType::resnet, Precision::float32},
                                                      {EnergyType::resnet, Precision::bfloat16}};

TEST(LoopThreads, TwoThreadsShareTheWorkOnEightChains) {
  for (const auto& [type, precision] : kinds) {
    const EnergyConfig config{.type = type, .channels = 8};
    const auto network = make_network(config, {1, 32, 32}, 1);
    const auto engine = make_gradient_engine(*network, config, precision, at::kCPU);
    engine->load(network->parameter_values());
    for (const std::int64_t count : {8, 24, 40}) {
      const at::Tensor state = at::zeros({count, 1, 32, 32});
      at::Tensor energy = at::empty({count}, at::kDouble), gradient = at::empty_like(state);
      const double share = share_of_two([&] { engine->evaluate(state, energy, &gradient); });
      EXPECT_GT(share, 0.44) << engine->description() << ' ' << count;
      EXPECT_LT(share, 0.56) << engine->description() << ' ' << count;
    }
    const at::Tensor none = at::zeros({0, 1, 32, 32});
    at::Tensor energy = at::empty({0}, at::kDouble), gradient = at::empty_like(none);
    engine->evaluate(none, energy, &gradient);
  }
}

TEST(LoopThreads, TwoThreadsShareTheWorkOnShardsOfOneBlock) {
  for (const auto& [type, precision] : kinds) {
    const EnergyConfig config{.type = type, .channels = 8};
    const auto network = make_network(config, {1, 16, 16}, 1);
    const auto gradient = precision == Precision::bfloat16
                              ? make_amx_weight_gradient(*network->plan())
                              : make_weight_gradient(*network, config, precision, at::kCPU);
    gradient->load(network->parameter_values());
    const at::Tensor state = at::zeros({4 * 16, 1, 16, 16}), factor = at::ones({4 * 16});
    at::Tensor energy = at::empty({4 * 16});
    EXPECT_NEAR(share_of_two([&] {
                  gradient->evaluate_parts(4, state, factor, factor, energy,
                                           [](std::int64_t, const std::vector<at::Tensor>&) {});
                }),
                0.5, 1e-9);
  }
}

/// As LibTorch does in a thread that had none of its parallel loops before.
void run_a_loop_of_libtorch() { at::ones({1 << 20}).mul_(2).sum(); }

void expect_threads_of_a_run(int threads, bool reproducible) {
  use_threads(threads, reproducible);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(at::get_num_threads(), reproducible ? 1 : threads);
    EXPECT_EQ(static_cast<int>(workers(8).size()), threads);
    run_a_loop_of_libtorch();
  }
}

TEST(LoopThreads, StayWhatARunAskedForWhateverLibTorchDoes) {
  const int before = at::get_num_threads();
  for (const bool reproducible : {true, false}) {
    std::thread([&] { expect_threads_of_a_run(2, reproducible); }).join();
  }
  // The second set-up of a process: LibTorch has its threads already.
  for (const bool reproducible : {false, true, false, true}) {
    run_a_loop_of_libtorch();
    expect_threads_of_a_run(2, reproducible);
    expect_threads_of_a_run(3, reproducible);
  }
  use_threads(1, false);
  at::set_num_threads(before);
}

}  // namespace
}  // namespace stanley
