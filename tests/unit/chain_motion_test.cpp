#include "train/chain_motion.hpp"

#include <gtest/gtest.h>

namespace stanley {
namespace {

/// Of a run of configs/fashion_mnist.yaml, about.
struct Chains {
  IterationRecord record;
  SamplerConfig sampler;
  ChainScale scale{.spread = 0.5, .saturation = 0.5, .dimension = 1024};

  Chains() {
    record.state_gradient_q90 = 0.01;
    record.distance_moved = 3;
    record.saturation = 0.4;
    sampler.steps = 20;
    sampler.step_size = 20;
    sampler.noise = 0.005;
  }
  std::vector<std::string> complaints() const { return motion_complaints(record, sampler, scale); }
  void expect_one(const std::string& words) const {
    ASSERT_EQ(complaints().size(), 1U);
    EXPECT_NE(complaints()[0].find(words), std::string::npos) << complaints()[0];
  }
};

TEST(ChainMotion, HealthyChainsAreNotSpokenOf) {
  Chains chains;
  EXPECT_TRUE(chains.complaints().empty());
  chains.record.state_gradient_q90 = 1e-6;  // a network that has just begun
  EXPECT_TRUE(chains.complaints().empty());
  chains.record.saturation = chains.scale.saturation = 0.999;  // strokes on an empty page
  EXPECT_TRUE(chains.complaints().empty());
  chains.sampler.box.reset();
  EXPECT_TRUE(chains.complaints().empty());
}

TEST(ChainMotion, ChainsThatStandStillAreTold) {
  Chains chains;
  chains.record.distance_moved = 1e-12;
  chains.expect_one("stand still");
}

TEST(ChainMotion, ADriftThatNoiseDrownsIsTold) {
  Chains chains;
  chains.sampler.step_size = 1e-40;
  chains.expect_one("noise alone");
  chains.sampler.type = TransitionType::gradient_descent;  // there is no noise
  EXPECT_TRUE(chains.complaints().empty());
}

TEST(ChainMotion, NoiseThatIsWiderThanTheBoxIsTold) {
  Chains chains;
  chains.sampler.noise = 100;
  chains.record.saturation = 0.99;
  chains.expect_one("at the box");
  chains.scale.saturation = 0.99;
  EXPECT_TRUE(chains.complaints().empty());
}

}  // namespace
}  // namespace stanley
