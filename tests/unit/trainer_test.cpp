#include "train/trainer.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace stanley {
namespace {

Config tiny() {
  Config config;
  config.run.iterations = 20;
  config.energy = {.type = EnergyType::mlp, .hidden = {16, 16}};
  config.data.type = DataType::pinwheel;
  config.data.samples = 100;
  config.data.batch = 16;
  config.chains = {.total = 32, .active = 16, .shards = 4, .restart_probability = {0.3, 0.1}};
  config.sampler.steps = 4;
  config.sampler.step_size = 0.1;
  config.sampler.noise = 0.05;
  config.sampler.threshold = {std::nullopt, 0.5};  // of two elements: the smaller
  config.optimizer.learning_rate = 0.01;
  config.optimizer.schedule.type = ScheduleType::cosine;
  return config;
}

/// A trainer of one rank and what it needs.
struct Training {
  explicit Training(const Config& config, bool begins = true)
      : communicator(make_local_communicator()),
        reducer(make_reducer(*communicator, Transport::mpi, Summation::plain)),
        dataset(Dataset::load(config.data, config.run.seed, *communicator)),
        trainer(config, dataset, {*communicator, *reducer, setup, activity}) {
    if (begins) trainer.begin();
  }

  /// The rows of metrics.csv of so many iterations, without the nine columns that are clocks.
  std::vector<std::string> iterate(int count) {
    std::vector<std::string> rows;
    for (int i = 0; i < count; ++i) {
      std::string row = to_csv(trainer.iterate());
      for (int column = 0; column < 9; ++column) row.resize(row.rfind(','));
      rows.push_back(row);
    }
    return rows;
  }

  std::unique_ptr<Communicator> communicator;
  std::unique_ptr<Reducer> reducer;
  Dataset dataset;
  ComputeSetup setup{{}, at::kCPU, Precision::float32, 1, {}, {}};
  Activity activity;
  Trainer trainer;
};

using Copies = std::vector<std::pair<std::string, std::vector<std::byte>>>;

Copies copies_of(Trainer& trainer) {
  Copies copies;
  for (const ArrayView& view : trainer.arrays()) {
    const auto* bytes = static_cast<const std::byte*>(view.data);
    copies.emplace_back(view.name, std::vector<std::byte>(bytes, bytes + local_bytes(view)));
  }
  return copies;
}

void expect_equal(const Copies& a, const Copies& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].first, b[i].first);
    EXPECT_TRUE(a[i].second == b[i].second) << a[i].first;
  }
}

std::vector<Config> trainings() {
  std::vector<Config> configs(5, tiny());
  configs[1].run.reproducible = true;
  configs[2].energy.spectral_normalization = true;
  configs[2].sampler.refresh = Refresh::iteration;
  configs[3].optimizer.type = OptimizerType::sgd;
  configs[3].optimizer.momentum = 0.9;
  configs[3].chains.start =
      StartMixture({{StartType::uniform, 0.3}, {StartType::data_gaussian, 0.7}});
  configs[3].chains.burn_in = 6;
  configs[3].chains.maximum_age = 12;
  configs[4].objective.denoising = 10;
  configs[4].run.reproducible = true;
  return configs;
}

TEST(Trainer, IsDeterministic) {
  for (const Config& config : trainings()) {
    Training one(config), other(config);
    EXPECT_EQ(one.iterate(4), other.iterate(4));
    expect_equal(copies_of(one.trainer), copies_of(other.trainer));
  }
  Config seeded = tiny();
  seeded.run.seed = 2;
  EXPECT_NE(Training(seeded).iterate(2), Training(tiny()).iterate(2));
}

TEST(Trainer, RestoredArraysGoOnBitForBit) {
  for (const Config& config : trainings()) {
    Training whole(config);
    whole.iterate(5);
    const Copies kept = copies_of(whole.trainer);
    const Progress progress = whole.trainer.progress();
    const std::vector<std::string> rows = whole.iterate(5);

    Training resumed(config, false);
    EXPECT_EQ(resumed.activity.progress(), 0);  // no chain was started in vain
    const std::vector<ArrayView> arrays = resumed.trainer.arrays();
    ASSERT_EQ(arrays.size(), kept.size());
    for (std::size_t i = 0; i < arrays.size(); ++i) {
      std::memcpy(arrays[i].data, kept[i].second.data(), kept[i].second.size());
    }
    resumed.trainer.restore(progress);
    EXPECT_EQ(resumed.trainer.iteration(), 5);
    EXPECT_EQ(resumed.iterate(5), rows);
    expect_equal(copies_of(resumed.trainer), copies_of(whole.trainer));
    EXPECT_EQ(resumed.trainer.progress(), whole.trainer.progress());
  }
}

TEST(Trainer, ABranchGoesOnWhereItsParentsNoiseEnds) {
  Training parent(tiny());
  parent.iterate(6);
  const Copies kept = copies_of(parent.trainer);
  const Progress progress = parent.trainer.progress();
  EXPECT_EQ(std::get<std::int64_t>(progress.at("chain_steps")), 24);
  EXPECT_EQ(std::get<std::int64_t>(progress.at("samples_seen")), 96);
  Config config = tiny();
  config.sampler.steps = 2;
  config.data.batch = 8;
  const auto branch = [&](const Progress& from) {
    auto training = std::make_unique<Training>(config);
    const std::vector<ArrayView> arrays = training->trainer.arrays();
    for (std::size_t i = 0; i < arrays.size(); ++i) {
      std::memcpy(arrays[i].data, kept[i].second.data(), kept[i].second.size());
    }
    training->trainer.restore(from);
    training->iterate(1);
    return training;
  };
  // Steps 12 and 13, which iteration times steps would be, moved the parent's chains already.
  Progress reusing = progress;
  reusing["chain_steps"] = std::int64_t{12};
  const auto right = branch(progress), wrong = branch(reusing);
  EXPECT_EQ(std::get<std::int64_t>(right->trainer.progress().at("chain_steps")), 26);
  EXPECT_EQ(std::get<std::int64_t>(right->trainer.progress().at("samples_seen")), 104);
  EXPECT_FALSE(copies_of(right->trainer) == copies_of(wrong->trainer));
  reusing["chain_steps"] = std::int64_t{24};
  reusing["samples_seen"] = std::int64_t{48};
  EXPECT_FALSE(copies_of(right->trainer) == copies_of(branch(reusing)->trainer));
}

TEST(Trainer, SchedulesEndWhereTheRunWasPlannedToEnd) {
  Config config = tiny();
  config.run.iterations = 10;
  Training planned(config);
  const std::vector<std::string> rows = planned.iterate(6);
  Config longer = config;
  longer.run.iterations = 1000;
  Training other(longer);
  EXPECT_NE(other.iterate(6), rows);
  Training raised(longer);
  Progress progress = raised.trainer.progress();
  EXPECT_EQ(std::get<std::int64_t>(progress.at("schedule_end")), 1000);
  progress["schedule_end"] = std::int64_t{10};
  raised.trainer.restore(progress);
  EXPECT_EQ(raised.iterate(6), rows);
}

TEST(Trainer, TellsOfTheChainsThatItStarts) {
  Training training(trainings()[3], false);
  training.trainer.begin();
  EXPECT_EQ(training.activity.progress(), 2);  // one Gaussian, one block
}

TEST(Trainer, ArraysAreThoseOfACheckpoint) {
  Config config = tiny();
  config.energy.spectral_normalization = true;
  Training training(config);
  std::vector<std::string> names;
  for (const ArrayView& view : training.trainer.arrays()) {
    names.push_back(view.name);
    if (view.name == "chains/state") {
      EXPECT_EQ(view.shape, (std::vector<std::int64_t>{32, 2}));
      EXPECT_EQ(view.shards, 4);
      EXPECT_EQ(view.shard_count, 4);
    }
  }
  for (const char* name :
       {"parameters/layers.0.weight", "average/layers.2.bias", "buffers/layers.1.weight_u",
        "optimizer/layers.0.weight/first_moment", "optimizer/layers.0.bias/second_moment",
        "chains/state", "chains/age", "chains/restarts"}) {
    EXPECT_EQ(std::count(names.begin(), names.end(), name), 1) << name;
  }
}

TEST(Trainer, TheRecordDescribesTheIteration) {
  Config config = tiny();
  config.chains.restart_probability = 0.0;
  Training training(config);
  const at::Tensor before = training.trainer.bank().state().clone();
  const IterationRecord first = training.trainer.iterate();
  EXPECT_EQ(first.iteration, 1);
  EXPECT_EQ(first.chain_age_mean, 4);
  EXPECT_EQ(first.chain_age_max, 4);
  EXPECT_EQ(first.restarts, 0);
  EXPECT_EQ(first.gap, first.energy_chains - first.energy_data);
  EXPECT_EQ(first.learning_rate, 0.01);
  EXPECT_TRUE(std::isnan(first.gap_autocorrelation));
  const at::Tensor moved = (training.trainer.bank().state() - before).norm(2, 1);
  EXPECT_NEAR(first.distance_moved, moved.sum().item<double>() / 16, 1e-5);
  EXPECT_EQ((moved > 0).sum().item<std::int64_t>(), 16);
  EXPECT_GT(first.gain_weighted_drift, 0);
  EXPECT_LT(first.gain_weighted_drift, 1);
  const DrawnStates draws = training.trainer.draws(5);
  EXPECT_TRUE(at::equal(draws.states, training.trainer.bank().state().narrow(0, 0, 5)));
  // One chain's energy by hand: the engine has the weights of after the update.
  const Network& network = training.trainer.network();
  const at::Tensor energy =
      network.forward(training.trainer.bank().state().narrow(0, 0, 5), network.parameter_values());
  EXPECT_LT((energy - draws.energies).abs().max().item<double>(), 1e-6);
}

/// rms(∇E)/T at noised data: at the whole first batch here, of four samples for each of four
/// shards.
TEST(Trainer, TellsTheScoreOfTheDataWhereALineIsDue) {
  Config config = tiny();
  config.log.every = 2;
  Training training(config);
  const Network& network = training.trainer.network();
  EXPECT_TRUE(std::isnan(training.trainer.iterate().data_score));
  at::Tensor data = at::empty({16, 2});
  Batches(training.dataset, config, 0).fill(1, 16, 0, 16, data.mutable_data_ptr<float>());
  data.requires_grad_(true);
  network.forward(data, network.parameter_values()).sum().backward();
  const double temperature = 0.05 * 0.05 / 0.1;
  const double expected = data.grad().square().mean().sqrt().item<double>() / temperature;
  const IterationRecord record = training.trainer.iterate();
  EXPECT_GT(expected, 0);
  EXPECT_NEAR(record.data_score, expected, 1e-5 * expected);
  EXPECT_GT(record.step_length, 0);
}

TEST(Trainer, ReadsNoTemperatureOfStepsTooLong) {
  Config config = tiny();
  config.sampler.box = std::nullopt;
  const IterationRecord free = Training(config).trainer.iterate();
  for (const auto one : {free.temperature_settled, free.temperature_law}) {
    EXPECT_TRUE(std::isfinite(one));
  }
  for (const auto one : {free.temperature_settled_error, free.temperature_law_error}) {
    EXPECT_GT(one, 0);
  }
  config.sampler.box = {-0.5, 0.5};
  config.sampler.noise = 0.5;
  const IterationRecord thrown = Training(config).trainer.iterate();
  for (const auto one : {thrown.temperature_settled, thrown.temperature_settled_error,
                         thrown.temperature_law, thrown.temperature_law_error}) {
    EXPECT_TRUE(std::isnan(one));
  }
  EXPECT_GT(thrown.step_length, 0.05);
}

}  // namespace
}  // namespace stanley
