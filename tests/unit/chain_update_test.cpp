#include "kernels/chain_update.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "config/error.hpp"
#include "kernels/chain_rules.hpp"
#include "kernels/loop_threads.hpp"
#include "random/normal.hpp"
#include "unit/instruction_sets.hpp"

namespace {

using namespace stanley;

using Floats = std::vector<float>;

/// n chains of d elements with gradients of both signs and many sizes.
struct Batch {
  std::vector<std::int64_t> ids;
  std::int64_t d;
  Floats gradient;
  Floats gain;
  Floats threshold;
  Floats state;
};

Batch make_batch(std::size_t n, std::int64_t d) {
  Batch batch{.ids = std::vector<std::int64_t>(n),
              .d = d,
              .gradient = {},
              .gain = {},
              .threshold = {},
              .state = {}};
  for (std::size_t row = 0; row < n; ++row) {
    batch.ids[row] = static_cast<std::int64_t>(7 + 13 * row);
  }
  const std::size_t size = n * static_cast<std::size_t>(d);
  batch.gradient.resize(size);
  batch.gain.resize(size);
  batch.threshold.resize(n);
  batch.state.resize(size);
  const random::Key key{.seed = 5, .stream = random::Stream::start_state};
  fill_normal_cpu(key, batch.ids, 0, d, 0.3F, batch.gradient.data());
  fill_uniform_cpu(key, batch.ids, 1, d, 0.01F, 1.0F, batch.gain.data());
  fill_uniform_cpu(key, batch.ids, 2, 1, 0.05F, 0.5F, batch.threshold.data());
  fill_uniform_cpu(key, batch.ids, 3, d, -1.0F, 1.0F, batch.state.data());
  return batch;
}

Update usual_update() {
  return {.half_step = 0.5F,
          .sigma = 0.4F,
          .low = -1.0F,
          .high = 1.0F,
          .key = {.seed = 9},
          .step = (3ULL << 32) + 8};
}

enum class Mode { free, langevin, gain_alone, gain, threshold };
constexpr std::array<Mode, 5> modes{Mode::free, Mode::langevin, Mode::gain_alone, Mode::gain,
                                    Mode::threshold};

bool has_gradient(Mode mode) { return mode != Mode::free && mode != Mode::gain_alone; }
bool has_gain(Mode mode) { return mode == Mode::gain || mode == Mode::gain_alone; }

void run(const Update& update, Mode mode, Batch& batch) {
  update_cpu(update, batch.ids, batch.d, has_gradient(mode) ? batch.gradient.data() : nullptr,
             has_gain(mode) ? batch.gain.data() : nullptr,
             mode == Mode::threshold ? batch.threshold.data() : nullptr, batch.state.data());
}

/// The same step written as a plain loop over single elements: what the vectors must reproduce.
Floats one_by_one(const Update& update, Mode mode, const Batch& batch) {
  Floats out = batch.state;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::size_t row = i / static_cast<std::size_t>(batch.d);
    const auto element = static_cast<std::uint32_t>(i % static_cast<std::size_t>(batch.d));
    float gamma = has_gain(mode) ? batch.gain[i] : 1.0F;
    if (mode == Mode::threshold && batch.threshold[row] != 0.0F) {
      gamma = stanley::detail::gain_of(batch.threshold[row], batch.gradient[i]);
    }
    float z = out[i];
    if (has_gradient(mode)) {
      z = stanley::detail::drifted(z, update.half_step, gamma, batch.gradient[i]);
    }
    if (update.sigma != 0.0F) {
      z = stanley::detail::diffused(
          z, update.sigma, gamma,
          random::normal(update.key, static_cast<std::uint32_t>(batch.ids[row]), update.step,
                         element));
    }
    out[i] = stanley::detail::into_box(z, update.low, update.high);
  }
  return out;
}

bool same_bits(const Floats& a, const Floats& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class ChainUpdate : public stanley::EachInstructionSet {};
WITH_EACH_INSTRUCTION_SET(ChainUpdate);
class Fill : public stanley::EachInstructionSet {};
WITH_EACH_INSTRUCTION_SET(Fill);

TEST_P(ChainUpdate, ChainsMayHaveStepsAndNoiseOfTheirOwn) {
  const std::vector<float> half_steps{0.5F, 0.0F, 0.1F}, sigmas{0.4F, 0.2F, 0.0F};
  for (const Mode mode : modes) {
    const Batch start = make_batch(3, 77);
    Batch together = start;
    Update update = usual_update();
    update.half_steps = half_steps.data();
    update.sigmas = sigmas.data();
    run(update, mode, together);
    for (std::size_t row = 0; row < 3; ++row) {
      Update alone = usual_update();
      alone.half_step = half_steps[row];
      alone.sigma = sigmas[row];
      Batch one = start;
      run(alone, mode, one);
      const auto begin = static_cast<std::ptrdiff_t>(row * 77);
      EXPECT_TRUE(std::equal(one.state.begin() + begin, one.state.begin() + begin + 77,
                             together.state.begin() + begin));
    }
  }
}

TEST_P(ChainUpdate, AFirstStepInMemoryIsAddedToTheStep) {
  const Batch batch = make_batch(3, 21);
  const auto moved = [&](std::uint64_t step, const std::int64_t* first) {
    Update update = usual_update();
    update.step = step;
    update.first_step = first;
    Floats state = batch.state;
    update_cpu(update, batch.ids, batch.d, batch.gradient.data(), nullptr, batch.threshold.data(),
               state.data());
    return state;
  };
  std::int64_t first = (std::int64_t{1} << 40) + 12;
  EXPECT_EQ(moved(3, &first), moved((std::uint64_t{1} << 40) + 15, nullptr));
  first += 1;
  EXPECT_EQ(moved(2, &first), moved((std::uint64_t{1} << 40) + 15, nullptr));
  EXPECT_NE(moved(3, &first), moved((std::uint64_t{1} << 40) + 15, nullptr));
}

TEST_P(ChainUpdate, VectorsGiveTheBitsOfSingleElements) {
  // Dimensions on both sides of a block (4) and of a group of blocks (64).
  for (const std::int64_t d : {1, 2, 3, 4, 5, 7, 31, 63, 64, 65, 127, 129, 784, 1024, 3072}) {
    for (const Mode mode : modes) {
      for (const float sigma : {0.0F, 0.4F}) {
        Batch batch = make_batch(5, d);
        Update update = usual_update();
        update.sigma = sigma;
        const Floats expected = one_by_one(update, mode, batch);
        run(update, mode, batch);
        EXPECT_TRUE(same_bits(batch.state, expected))
            << "d " << d << " mode " << static_cast<int>(mode);
      }
    }
  }
}

TEST_P(ChainUpdate, IsTheFormulaOfTheDesign) {
  for (const Mode mode : modes) {
    Batch batch = make_batch(16, 513);
    const Update update = usual_update();
    const Floats before = batch.state;
    Floats xi(before.size());
    fill_normal_cpu(update.key, batch.ids, update.step, batch.d, 1.0F, xi.data());
    run(update, mode, batch);
    for (std::size_t i = 0; i < before.size(); ++i) {
      const double th =
          mode == Mode::threshold ? static_cast<double>(batch.threshold[i / 513]) : 0.0;
      const double g = has_gradient(mode) ? static_cast<double>(batch.gradient[i]) : 0.0;
      double gamma = has_gain(mode) ? static_cast<double>(batch.gain[i]) : 1.0;
      gamma = th > 0.0 ? th / std::max(th, std::abs(g)) : gamma;
      const double drift = static_cast<double>(update.half_step) * gamma * g;
      const double noise =
          static_cast<double>(update.sigma) * std::sqrt(gamma) * static_cast<double>(xi[i]);
      const double z = static_cast<double>(before[i]) - drift + noise;
      // Roundings, in units of 2^-24: two in the drift (gain, product), three in the noise (half
      // the gain's, root, product) and two sums of at most |z| + |drift| + |noise|.
      const double bound =
          0x1p-24 *
          (2 * std::abs(drift) + 3 * std::abs(noise) +
           2 * (std::abs(static_cast<double>(before[i])) + std::abs(drift) + std::abs(noise)));
      EXPECT_NEAR(static_cast<double>(batch.state[i]), std::clamp(z, -1.0, 1.0), bound);
    }
  }
}

TEST_P(ChainUpdate, AChainMovesTheSameAloneInABatchAndInAnyPlace) {
  const std::int64_t d = 70;
  for (const Mode mode : modes) {
    Batch together = make_batch(64, d);
    const Batch before = together;
    run(usual_update(), mode, together);
    std::vector<std::size_t> order(64);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::reverse(order.begin(), order.end());
    std::swap(order[3], order[40]);
    Batch moved = before;
    const auto row_of = [&](const Floats& all, std::size_t row) {
      return Floats(all.begin() + static_cast<std::ptrdiff_t>(row) * d,
                    all.begin() + static_cast<std::ptrdiff_t>(row + 1) * d);
    };
    for (std::size_t place = 0; place < 64; ++place) {
      const std::size_t row = order[place];
      Batch alone{.ids = {before.ids[row]},
                  .d = d,
                  .gradient = row_of(before.gradient, row),
                  .gain = row_of(before.gain, row),
                  .threshold = {before.threshold[row]},
                  .state = row_of(before.state, row)};
      const auto to = static_cast<std::ptrdiff_t>(place) * d;
      moved.ids[place] = alone.ids[0];
      moved.threshold[place] = alone.threshold[0];
      std::copy(alone.gradient.begin(), alone.gradient.end(), moved.gradient.begin() + to);
      std::copy(alone.gain.begin(), alone.gain.end(), moved.gain.begin() + to);
      std::copy(alone.state.begin(), alone.state.end(), moved.state.begin() + to);
      run(usual_update(), mode, alone);
      EXPECT_TRUE(same_bits(alone.state, row_of(together.state, row)));
    }
    run(usual_update(), mode, moved);
    for (std::size_t place = 0; place < 64; ++place) {
      EXPECT_TRUE(same_bits(row_of(moved.state, place), row_of(together.state, order[place])));
    }
  }
}

TEST_P(ChainUpdate, ThreadsChangeNothing) {
  Batch one = make_batch(48, 1024);
  Batch three = one;
  run(usual_update(), Mode::threshold, one);
  const LoopThreads these(3);
  run(usual_update(), Mode::threshold, three);
  EXPECT_TRUE(same_bits(one.state, three.state));
}

TEST_P(ChainUpdate, NoiseChangesWithKeyIdAndStep) {
  const auto first_noise = [](const Update& update, std::int64_t id) {
    Floats state{0.0F};
    update_cpu(update, std::vector<std::int64_t>{id}, 1, nullptr, nullptr, nullptr, state.data());
    return state[0];
  };
  const Update update{.sigma = 1.0F};
  Update other = update;
  other.step = 1;
  EXPECT_NE(first_noise(update, 0), first_noise(other, 0));
  other = update;
  other.key.attempt = 1;
  EXPECT_NE(first_noise(update, 0), first_noise(other, 0));
  EXPECT_NE(first_noise(update, 0), first_noise(update, 1));
  EXPECT_EQ(first_noise(update, 4294967295), random::normal(update.key, 4294967295U, 0));
}

TEST_P(ChainUpdate, ProjectsIntoTheBoxAndOnlyThere) {
  Update update{.half_step = 1.0F, .low = -1.0F, .high = 2.0F};
  const std::vector<std::int64_t> ids{0};
  const Floats gradient{5.0F, -5.0F, 0.25F, 1.0F, -2.0F};
  Floats state(5, 0.0F);
  update_cpu(update, ids, 5, gradient.data(), nullptr, nullptr, state.data());
  EXPECT_EQ(state, (Floats{-1.0F, 2.0F, -0.25F, -1.0F, 2.0F}));
  update = {.half_step = 1.0F};
  state.assign(5, 0.0F);
  update_cpu(update, ids, 5, gradient.data(), nullptr, nullptr, state.data());
  EXPECT_EQ(state, (Floats{-5.0F, 5.0F, -0.25F, -1.0F, 2.0F}));
}

TEST_P(ChainUpdate, TheBoxHidesNoNotANumber) {
  const std::vector<std::int64_t> ids{0};
  const Floats gradient{0.0F, std::nanf(""), 0.0F};
  const Floats threshold{0.5F};
  Floats state{std::nanf(""), 0.0F, 0.0F};
  update_cpu(usual_update(), ids, 3, gradient.data(), nullptr, threshold.data(), state.data());
  EXPECT_TRUE(std::isnan(state[0]));
  EXPECT_TRUE(std::isnan(state[1]));
  EXPECT_FALSE(std::isnan(state[2]));
}

/// A drift that overflows, or a gradient that is infinite, must not end on a face of the box as if
/// all were well.
TEST_P(ChainUpdate, TheBoxHidesNoInfinity) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<std::int64_t> ids{0};
  const Floats gradient{infinity, -infinity, 3e38F, 1.0F, infinity};
  for (const float threshold : {0.0F, 0.5F}) {  // 0: plain Langevin, a gain of 1
    for (const float sigma : {0.0F, 0.4F}) {
      const Floats thresholds{threshold};
      Update update = usual_update();
      update.half_step = 4.0F;
      update.sigma = sigma;
      Floats state(5, 0.0F);
      update_cpu(update, ids, 5, gradient.data(), nullptr, thresholds.data(), state.data());
      const bool bounded = threshold > 0;  // the gain keeps the finite drift finite
      const bool expected[] = {true, true, !bounded, false, true};
      for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(std::isnan(state[i]), expected[i]) << i;
    }
  }
}

TEST_P(ChainUpdate, FiniteNumbersInTheBoxKeepTheirBits) {
  const float largest = std::numeric_limits<float>::max();
  const float smallest = std::numeric_limits<float>::denorm_min();
  for (const float z : {0.0F, -0.0F, smallest, -smallest, 1.0F, -1.0F, 0.1F, largest, -largest}) {
    EXPECT_TRUE(same_bits({stanley::detail::into_box(z, -largest, largest)}, {z})) << z;
  }
}

TEST_P(ChainUpdate, TheGainIsOneBelowTheThresholdAndFallsAboveIt) {
  EXPECT_EQ(stanley::detail::gain_of(0.5F, 0.0F), 1.0F);
  EXPECT_EQ(stanley::detail::gain_of(0.5F, 0.5F), 1.0F);
  EXPECT_EQ(stanley::detail::gain_of(0.5F, -0.25F), 1.0F);
  EXPECT_EQ(stanley::detail::gain_of(0.5F, -2.0F), 0.25F);
  EXPECT_EQ(stanley::detail::gain_of(0.5F, 1.0F), 0.5F);
}

TEST_P(ChainUpdate, AThresholdIsTheGainThatItDefines) {
  Batch by_threshold = make_batch(6, 100);
  by_threshold.threshold[2] = 0.0F;  // no threshold: plain Langevin for this chain
  Batch by_gain = by_threshold;
  for (std::size_t i = 0; i < by_gain.gain.size(); ++i) {
    const float th = by_gain.threshold[i / 100];
    by_gain.gain[i] = th > 0.0F ? stanley::detail::gain_of(th, by_gain.gradient[i]) : 1.0F;
  }
  run(usual_update(), Mode::threshold, by_threshold);
  run(usual_update(), Mode::gain, by_gain);
  EXPECT_TRUE(same_bits(by_threshold.state, by_gain.state));
}

/// What ThermometerSum lists, of a step from `before`, in double precision.
std::vector<double> sums_by_hand(const Update& update, Mode mode, const Batch& before) {
  std::vector<double> sums(before.ids.size() * thermometer_sums);
  for (std::size_t i = 0; i < before.state.size(); ++i) {
    const std::size_t row = i / static_cast<std::size_t>(before.d);
    const auto low = static_cast<double>(update.low), high = static_cast<double>(update.high);
    const auto z = static_cast<double>(before.state[i]),
               g = static_cast<double>(before.gradient[i]);
    const double centre = (low + high) / 2, half = (high - low) / 2;
    const double u = std::isfinite(half) ? (z - centre) / half : 0;
    double f = half * u * (1 - u * u) * (1 - u * u), slope = (1 - u * u) * (1 - 5 * u * u);
    if (!std::isfinite(half)) {
      f = z;
      slope = 1;
    }
    double gamma = mode == Mode::gain ? static_cast<double>(before.gain[i]) : 1.0;
    if (mode == Mode::threshold) {
      const auto th = static_cast<double>(before.threshold[row]);
      gamma = th / std::max(th, std::abs(g));
    }
    const double terms[] = {gamma * f * g, gamma * slope, f * g, slope};
    for (std::size_t k = 0; k < thermometer_sums; ++k) sums[row * thermometer_sums + k] += terms[k];
  }
  return sums;
}

TEST_P(ChainUpdate, AddsUpForTheThermometerAndMovesAsWithout) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const std::int64_t d : {1, 2, 5, 64, 65, 1000}) {
    for (const Mode mode : {Mode::langevin, Mode::gain, Mode::threshold}) {
      for (const auto& [low, high] : {std::pair{-1.5F, 1.0F}, {-infinity, infinity}}) {
        const Batch before = make_batch(3, d);
        Batch plain = before, summed = before;
        Update update = usual_update();
        update.low = low;
        update.high = high;
        run(update, mode, plain);
        std::vector<double> sums(3 * thermometer_sums, 100.0);  // which are added to
        update_cpu(update, summed.ids, d, summed.gradient.data(),
                   has_gain(mode) ? summed.gain.data() : nullptr,
                   mode == Mode::threshold ? summed.threshold.data() : nullptr, summed.state.data(),
                   sums.data());
        EXPECT_TRUE(same_bits(summed.state, plain.state));
        const std::vector<double> exact = sums_by_hand(update, mode, before);
        for (std::size_t k = 0; k < sums.size(); ++k) {
          EXPECT_NEAR(sums[k] - 100, exact[k], 1e-6 * static_cast<double>(d))
              << "d " << d << " mode " << static_cast<int>(mode) << " sum " << k;
        }
      }
    }
  }
}

/// A chain that starts beyond the box has no part in it, as on a face.
TEST_P(ChainUpdate, BeyondTheBoxIsAsOnItsFaces) {
  const std::vector<std::int64_t> ids{0};
  const Floats gradient{1.0F, 2.0F, 3.0F};
  Floats state{-1.0F, 1.0F, 1.7F};
  std::vector<double> sums(thermometer_sums);
  update_cpu({.low = -1, .high = 1}, ids, 3, gradient.data(), nullptr, nullptr, state.data(),
             sums.data());
  for (const ThermometerSum none : {settled_virial, settled_slope, law_virial, law_slope}) {
    EXPECT_EQ(sums[none], 0);
  }
}

TEST_P(ChainUpdate, SumsNeedAGradient) {
  Batch batch = make_batch(1, 4);
  std::vector<double> sums(thermometer_sums);
  EXPECT_THROW(
      update_cpu({}, batch.ids, 4, nullptr, nullptr, nullptr, batch.state.data(), sums.data()),
      Error);
}

TEST_P(ChainUpdate, RefusesContradictoryGains) {
  Batch batch = make_batch(1, 4);
  EXPECT_THROW(update_cpu({}, batch.ids, 4, batch.gradient.data(), batch.gain.data(),
                          batch.threshold.data(), batch.state.data()),
               Error);
  EXPECT_THROW(
      update_cpu({}, batch.ids, 4, nullptr, nullptr, batch.threshold.data(), batch.state.data()),
      Error);
}

TEST_P(Fill, GivesTheNumbersOfTheElements) {
  const random::Key key{.seed = 3, .stream = random::Stream::data_noise};
  const std::vector<std::int64_t> ids{4, 0, 4294967295};
  for (const std::int64_t d : {1, 6, 64, 130}) {
    const auto size = static_cast<std::size_t>(d);
    Floats normal(3 * size);
    Floats uniform(3 * size);
    fill_normal_cpu(key, ids, 17, d, 0.5F, normal.data());
    fill_uniform_cpu(key, ids, 17, d, -3.0F, 2.0F, uniform.data());
    for (std::size_t i = 0; i < 3 * size; ++i) {
      const auto id = static_cast<std::uint32_t>(ids[i / size]);
      const auto element = static_cast<std::uint32_t>(i % size);
      EXPECT_EQ(normal[i], 0.5F * random::normal(key, id, 17, element));
      EXPECT_EQ(uniform[i],
                stanley::detail::between(-3.0F, 2.0F, random::uniform(key, id, 17, element)));
      EXPECT_GE(uniform[i], -3.0F);
      EXPECT_LE(uniform[i], 2.0F);
    }
  }
}

TEST_P(Fill, NoChainsIsNoWork) {
  fill_normal_cpu({}, {}, 0, 4, 1.0F, nullptr);
  fill_uniform_cpu({}, {}, 0, 4, 0.0F, 1.0F, nullptr);
  update_cpu({}, {}, 4, nullptr, nullptr, nullptr, nullptr);
}

}  // namespace
