#include "sampler/pieces.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace stanley {
namespace {

using Parts = std::vector<std::pair<std::int64_t, std::int64_t>>;

Parts parts(const Pieces& pieces, std::int64_t states) {
  Parts found;
  pieces.for_each(states, [&](auto first, auto count) { found.emplace_back(first, count); });
  return found;
}

TEST(Pieces, CutEachGroupAlike) {
  EXPECT_EQ(parts({.most = 8}, 5), (Parts{{0, 5}}));
  EXPECT_EQ(parts({.most = 8}, 16), (Parts{{0, 8}, {8, 8}}));
  EXPECT_EQ(parts({.most = 8}, 19), (Parts{{0, 8}, {8, 8}, {16, 3}}));
  EXPECT_EQ(parts({.most = 8, .group = 5}, 12), (Parts{{0, 5}, {5, 5}, {10, 2}}));
  EXPECT_EQ(parts({.most = 3, .group = 5}, 10), (Parts{{0, 3}, {3, 2}, {5, 3}, {8, 2}}));
  EXPECT_EQ(parts({.most = 3}, 0), Parts{});
}

TEST(Pieces, HaveRoomWhereTrainingHas) {
  EXPECT_EQ(states_at_once(1000, 12288, at::kCUDA), 1000);
  EXPECT_EQ(states_at_once(16, 1024, at::kCUDA), 256);
  EXPECT_EQ(states_at_once(1, std::int64_t{1} << 30, at::kCPU), 1);
  EXPECT_GT(states_at_once(16, 1024, at::kCPU), states_at_once(16, 1024, at::kCUDA));
}

/// E = Σ x⁴/4, which takes at most `most` states at once and counts them.
class Quartic final : public GradientEngine {
 public:
  explicit Quartic(std::int64_t most) : most_(most) {}
  void load(const std::vector<at::Tensor>&) override {}
  void evaluate(const Points& points, at::Tensor& energy, at::Tensor* gradient) override {
    const at::Tensor& state = points.state;
    ASSERT_LE(state.size(0), most_);
    states += state.size(0);
    energy.copy_(state.pow(4).sum(1) / 4);
    if (gradient != nullptr) gradient->copy_(state.pow(3));
  }
  double energy_error() const override { return 0; }
  bool batch_invariant() const override { return true; }
  std::string description() const override { return "quartic"; }

  std::int64_t states = 0;

 private:
  std::int64_t most_;
};

ChainBatch chains(std::int64_t count) {
  return {at::arange(2.0 * static_cast<double>(count), at::kFloat).view({count, 2}) / 100,
          at::arange(100, 100 + count, at::kLong)};
}

TEST(Pieces, MoveAsTheWholeBatchDoes) {
  SamplerConfig config;
  config.step_size = 0.1;
  config.noise = 0.05;
  config.threshold = {std::nullopt, 0.5};
  const random::Key key{7, random::Stream::chain_noise, 0};
  const auto make = [&] { return make_transition(config, key); };
  for (const std::int64_t count : {5, 16, 19}) {
    ChainBatch whole = chains(count), cut = chains(count);
    Quartic of_whole(count), of_cut(8);
    const auto together = make(), apart = make_piecewise_transition({.most = 8}, make);
    for (const std::uint64_t first_step : {0U, 3U}) {
      const at::Tensor one = together->advance(of_whole, whole, first_step, 3);
      const at::Tensor other = apart->advance(of_cut, cut, first_step, 3);
      EXPECT_TRUE(at::allclose(one, other));  // sums of LibTorch
      EXPECT_TRUE(at::equal(whole.state, cut.state));
    }
    EXPECT_EQ(of_cut.states, 6 * count);
  }
}

TEST(Pieces, HaveTheEnergiesOfTheWholeBatch) {
  const at::Tensor states = chains(19).state;
  Quartic engine(8);
  EXPECT_TRUE(
      at::equal(energies_of(engine, states, {.most = 8, .group = 5}), states.pow(4).sum(1) / 4));
  EXPECT_EQ(engine.states, 19);
  EXPECT_EQ(energies_of(engine, states.narrow(0, 0, 0), {.most = 8}).numel(), 0);
}

}  // namespace
}  // namespace stanley
