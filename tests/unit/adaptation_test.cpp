#include "sampling/adaptation.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace stanley {
namespace {

/// Steps that are accepted with the probability exp(−α/scale), of each shard's own scale.
std::vector<double> accepted_shares(const std::vector<double>& step_sizes) {
  std::vector<double> shares;
  double scale = 1;
  for (const double step_size : step_sizes) shares.push_back(std::exp(-step_size / (scale *= 10)));
  return shares;
}

TEST(StepAdaptation, FindsEachShardsStep) {
  for (const double target : {0.25, 0.574, 0.9}) {
    for (const double start : {1e-3, 1.0, 1e3}) {
      StepAdaptation adaptation(3, start, target);
      for (int step = 0; step < 500; ++step)
        adaptation.observe(accepted_shares(adaptation.step_sizes()));
      for (const double share : accepted_shares(adaptation.final_step_sizes())) {
        EXPECT_NEAR(share, target, 0.02) << "from " << start;
      }
    }
  }
}

TEST(StepAdaptation, ItsStateIsAllThatItRemembers) {
  StepAdaptation whole(2, 0.5, 0.6), cut(2, 0.5, 0.6);
  for (int step = 0; step < 20; ++step) whole.observe(accepted_shares(whole.step_sizes()));
  for (int step = 0; step < 7; ++step) cut.observe(accepted_shares(cut.step_sizes()));
  StepAdaptation resumed(2, 0.5, 0.6);
  resumed.state() = cut.state();
  for (int step = 7; step < 20; ++step) resumed.observe(accepted_shares(resumed.step_sizes()));
  EXPECT_EQ(resumed.step_sizes(), whole.step_sizes());
  EXPECT_EQ(resumed.final_step_sizes(), whole.final_step_sizes());
}

TEST(StepAdaptation, BeginsAtTheConfigurationsStep) {
  const StepAdaptation adaptation(2, 0.5, 0.6);
  for (const double size : adaptation.step_sizes()) EXPECT_DOUBLE_EQ(size, 0.5);
}

}  // namespace
}  // namespace stanley
