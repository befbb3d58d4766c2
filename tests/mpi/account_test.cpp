#include "train/account.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "run/activity.hpp"
#include "test_session.hpp"

namespace stanley {
namespace {

using namespace std::chrono_literals;

TEST(Account, NobodyWaitsLongerThanItsReduction) {
  Communicator& world = test_session().world();
  Config config;
  config.chains.active = world.size();
  config.data.batch = world.size();
  Activity activity;
  const std::vector<Column> none;
  // Lets rank 0 begin late, as after a line in the log, and do the least: by then the others have
  // done theirs, and it need not wait for what it did not do.
  world.barrier();
  if (world.rank() == 0) std::this_thread::sleep_for(80ms);
  Account account(config, none, activity, at::kCPU);
  account.enter("chains", &IterationRecord::seconds_chains);
  if (world.rank() != 0) std::this_thread::sleep_for(60ms);
  account.enter("reduction", &IterationRecord::seconds_reduction);
  const at::Tensor states = at::zeros({1, 3});
  account.chains_start(states);
  account.summarize(states, {1}, 0, world);
  const IterationRecord record = account.close(1);
  EXPECT_GE(record.seconds_waiting, 0);
  EXPECT_GE(record.seconds_reduction, 0);
  EXPECT_LE(record.seconds_chains + record.seconds_waiting + record.seconds_reduction,
            record.seconds_iteration);
}

}  // namespace
}  // namespace stanley
