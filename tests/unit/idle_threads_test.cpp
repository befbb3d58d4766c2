#include "train/idle_threads.hpp"

#include <gtest/gtest.h>

#include "energy/gradient_engine.hpp"
#include "energy/weight_gradient.hpp"
#include "engines/factory.hpp"
#include "kernels/loop_threads.hpp"

namespace stanley {
namespace {

ComputeSetup setup_of(int threads, DeviceKind kind = DeviceKind::cpu) {
  return {{.kind = kind}, at::kCPU, Precision::float32, threads, {}};
}

TEST(IdleThreads, AreSaidWithWhatToChange) {
  Config config;
  config.energy.type = EnergyType::convnet;
  EXPECT_EQ(idle_threads(config, setup_of(8), {8, 512, 8, 8}), "");
  EXPECT_EQ(idle_threads(config, setup_of(64, DeviceKind::cuda), {8, 16, 8, 1}), "");
  EXPECT_EQ(idle_threads(config, setup_of(64), {128, 256, 64, 8}),
            "8 of 64 threads have work in the weight gradient (256 states a rank): raise "
            "chains.active and data.batch, or start more ranks of fewer threads each");
  EXPECT_EQ(idle_threads(config, setup_of(64), {8, 16, 8, 1}),
            "8 of 64 threads have work in the chain steps (8 chains a rank), 1 of 64 threads have "
            "work in the weight gradient (16 states a rank): raise chains.active and data.batch, "
            "or start more ranks of fewer threads each");
  config.energy.type = EnergyType::mlp;
  config.run.reproducible = true;
  EXPECT_NE(idle_threads(config, setup_of(2), {8, 16, 1, 1}).find("LibTorch"), std::string::npos);
}

TEST(IdleThreads, AreCountedByWhoGivesThemWork) {
  const EnergyConfig convnet{.type = EnergyType::convnet, .channels = 2},
      mlp{.type = EnergyType::mlp};
  const auto network = make_network(convnet, {1, 8, 8}, 1), other = make_network(mlp, {2}, 1);
  const auto engine = [&](Precision precision) {
    return make_gradient_engine(*network, convnet, precision, at::kCPU);
  };
  const auto gradient = make_weight_gradient(*network, convnet, Precision::float32, at::kCPU);
  const LoopThreads these(20);
  EXPECT_EQ(engine(Precision::float32)->working_threads(7), 7);
  EXPECT_EQ(engine(Precision::float32)->working_threads(100), 20);
  // Threads share a block by its rows, of which there are eight.
  EXPECT_EQ(engine(Precision::bfloat16)->working_threads(7), 8);
  EXPECT_EQ(engine(Precision::bfloat16)->working_threads(17), 16);
  EXPECT_EQ(engine(Precision::bfloat16)->working_threads(15 * 16), 15);
  EXPECT_EQ(gradient->working_threads(1, 16), 1);
  EXPECT_EQ(gradient->working_threads(8, 16), 8);
  EXPECT_EQ(gradient->working_threads(1, 256), 8);
  EXPECT_EQ(gradient->working_threads(1, 4096), 20);
  use_threads(3, true);
  EXPECT_EQ(make_gradient_engine(*other, mlp, Precision::float32, at::kCPU)->working_threads(64),
            1);
  use_threads(1, false);
}

}  // namespace
}  // namespace stanley
