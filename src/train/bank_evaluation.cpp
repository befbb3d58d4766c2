#include "train/bank_evaluation.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>

#include "chains/tensor_view.hpp"
#include "data/reduction.hpp"
#include "evaluation/mean_kernel.hpp"
#include "evaluation/row_progress.hpp"
#include "parallel/agree.hpp"
#include "parallel/threads.hpp"
#include "run/stopwatch.hpp"
#include "sampling/setup.hpp"
#include "storage/data_file.hpp"
#include "storage/json_values.hpp"

namespace stanley {
namespace {

constexpr std::int64_t most_images = 2048;  // as stanley evaluate
constexpr const char* test_split = "test";

bool from_file(const Config& config) { return config.data.type == DataType::file; }

/// Collective. Shape of a state, before the data are read.
std::vector<std::int64_t> state_shape(const Config& config, Communicator& world) {
  if (!from_file(config)) return {2};
  std::vector<std::int64_t> shape;
  on_first_rank(world, [&] {
    shape = DataFile(config.data.path).shape(config.data.split);
    shape.erase(shape.begin());
    shape = reduced_shape(config.data, shape);
  });
  return from_first_rank(world, [&] { return shape; });
}

/// Collective. Whether the data file has images to test with that are not those of the training.
bool has_test_images(const DataConfig& data, Communicator& world) {
  bool has = false;
  on_first_rank(world, [&] {
    const DataFile file(data.path);
    has = data.split != test_split &&
          std::ranges::find(file.splits(), test_split) != file.splits().end() &&
          file.shape(test_split).front() > 0;
  });
  return world.max(has ? 1 : 0) > 0;
}

Features load_features(const Config& config, Session& session) {
  use_threads(threads_per_rank(session, config.run.threads), config.run.reproducible);
  return Features::load({.path = config.evaluation.features,
                         .protocol = "",
                         .option = "evaluation.features",
                         .owner = config.data.path},
                        state_shape(config, session.world()), config.data.range, session.world());
}

/// Where a shard's chains begin in a sample of `count`, which is dealt evenly to all shards.
std::int64_t begin_in_sample(std::int64_t shard, const Shards& shards, std::int64_t count) {
  return shard * count / shards.total;
}

/// The sample's chains of this rank, by their rows: the first ones of each shard, [k] int64 each.
std::vector<at::Tensor> sampled_rows(const Bank& bank, const Shards& shards, std::int64_t count) {
  std::vector<at::Tensor> rows;
  for (std::int64_t i = 0; i < shards.count; ++i) {
    const std::int64_t shard = shards.first + i, first = i * bank.chains_per_shard();
    const std::int64_t taken =
        begin_in_sample(shard + 1, shards, count) - begin_in_sample(shard, shards, count);
    rows.push_back(at::arange(first, first + taken, at::kLong));
  }
  return rows;
}

}  // namespace

BankEvaluation::BankEvaluation(const Config& config, Session& session, Log& log, Activity& activity)
    : config_(config),
      world_(session.world()),
      log_(log),
      activity_(activity),
      every_(config.evaluation.every.value()),
      chains_(config.evaluation.sample(config.chains.total)),
      shards_(deal_shards(config.chains.shards, session.rank(), session.size())),
      features_(load_features(config, session)) {
  if (every_ <= config.run.iterations) return;
  log_.warn(fmt::format("evaluation.every {} is above run.iterations {}: nothing is evaluated",
                        every_, config.run.iterations));
}

std::string BankEvaluation::identity() const {
  const FeatureNetwork* network = features_.network();
  const std::string features = network == nullptr ? "states" : network->identity();
  const Denoise& denoise = config_.samples.denoise;
  if (denoise.fitted) return features + ", a fitted step";
  return denoise.steps ? fmt::format("{}, {} noise-free steps", features, *denoise.steps)
                       : features;
}

// --- images

void BankEvaluation::prepare(const Dataset& training) {
  activity_.enter("features of images");
  training_ = images_of(training, config_.data.split, "features of training images");
  test_ = test_images(training);
  const FeatureNetwork* network = features_.network();
  if (config_.chains.start.has(StartType::data)) {
    log_.warn(
        "chains.start has training data: young chains are near them whatever was learned, so KID "
        "tells little of the energy, and the best checkpoint by it neither");
  }
  log_.info(fmt::format(
      "each {} iterations KID of {} chains, the first ones of each shard, to {} training images, "
      "which tells the best checkpoint{}; features: {}",
      every_, chains_, training_.features.size(0),
      test_ ? fmt::format(", and to {} test images", test_->features.size(0)) : "",
      network == nullptr
          ? "the states themselves"
          : fmt::format("{} ({}, code {}), {}", printable(network->name()), network->digest(),
                        network->code_digest(),
                        network->is_public() ? "as protocol public" : "a network of your own")));
}

std::optional<BankEvaluation::Images> BankEvaluation::test_images(const Dataset& training) {
  if (from_file(config_) && !has_test_images(config_.data, world_)) return std::nullopt;
  DataConfig data = config_.data;
  data.samples = most_images;
  data.split = from_file(config_) ? test_split : "fresh";
  // Of a law: samples that no training of this seed has seen.
  const Dataset images = Dataset::load(data, config_.run.seed + (from_file(config_) ? 0 : 1),
                                       world_, [this] { activity_.advance(); });
  if (images.shape() != training.shape()) {
    log_.warn(fmt::format("{}: the split '{}' has images of shape {}: they are not compared with",
                          data.path, data.split, shape_text(images.shape())));
    return std::nullopt;
  }
  if (images.size() < 2) {
    log_.warn(
        fmt::format("{}: the split '{}' has one image, and KID takes two: it is not compared "
                    "with",
                    data.path, data.split));
    return std::nullopt;
  }
  return images_of(images, data.split, "features of test images");
}

BankEvaluation::Images BankEvaluation::images_of(const Dataset& images, const std::string& split,
                                                 const char* what) {
  const OneThreadEach one_thread;
  RowProgress progress(log_, what, world_.size());
  const auto done = [this, progress](std::int64_t rows, std::int64_t all) mutable {
    activity_.advance();
    progress(rows, all);
  };
  const std::string data = from_file(config_) ? config_.data.path : to_string(config_.data.type);
  const std::int64_t count = std::min(most_images, images.size());
  at::Tensor features = features_.of_reference({images, data, split, count}, world_, log_, done);
  const double mean = mean_kernel_within(features, world_);
  return {std::move(features), mean};
}

// --- chains

/// Those of the sample that are past their burn-in, as the loss has them; all where fewer than two
/// are.
at::Tensor BankEvaluation::counted_rows(Bank& bank) {
  std::vector<double> ages(static_cast<std::size_t>(chains_), 0.0);
  const at::Tensor rows = at::cat(sampled_rows(bank, shards_, chains_));
  const std::int64_t first = begin_in_sample(shards_.first, shards_, chains_);
  for (std::int64_t i = 0; i < rows.numel(); ++i) {
    const std::int64_t row = rows.const_data_ptr<std::int64_t>()[i];
    ages[static_cast<std::size_t>(first + i)] =
        static_cast<double>(bank.ages()[static_cast<std::size_t>(row)]);
  }
  world_.sum(std::span(ages));
  std::vector<std::int64_t> counted;
  for (std::int64_t i = 0; i < chains_; ++i) {
    if (ages[static_cast<std::size_t>(i)] >= static_cast<double>(config_.chains.burn_in)) {
      counted.push_back(i);
    }
  }
  if (counted.size() < 2) {
    counted.resize(static_cast<std::size_t>(chains_));
    std::iota(counted.begin(), counted.end(), 0);
  }
  counted_ = static_cast<std::int64_t>(counted.size());
  return at::tensor(counted, at::kLong);
}

at::Tensor BankEvaluation::features_of(Trainer& trainer) {
  activity_.enter("evaluation");
  at::Tensor mine;
  agree(world_, [&] {
    const at::Tensor states = states_of(trainer);
    const OneThreadEach one_thread;
    const std::int64_t size = trainer.bank().state().numel() / trainer.bank().local_count();
    const auto alone = make_local_communicator();
    mine = features_.of({.count = states.size(0),
                         .read =
                             [&](std::int64_t first, std::int64_t count, float* out) {
                               std::copy_n(states.const_data_ptr<float>() + first * size,
                                           count * size, out);
                             }},
                        *alone, [this](std::int64_t, std::int64_t) { activity_.advance(); });
  });
  at::Tensor all = at::zeros({chains_, features_.dimension()}, at::kDouble);
  all.narrow(0, begin_in_sample(shards_.first, shards_, chains_), mine.size(0)).copy_(mine);
  world_.sum(values_of<double>(all));
  return all;
}

double BankEvaluation::distance(const at::Tensor& draws, double within, const Images& images) {
  return within + images.mean_kernel - 2 * mean_kernel_across(draws, images.features, world_);
}

/// This rank's chains of the sample, as draws have them, on the CPU.
at::Tensor BankEvaluation::states_of(Trainer& trainer) const {
  const Bank& bank = trainer.bank();
  const ChainBatch all = bank.chains(bank.local_count());
  std::vector<ChainBatch> shards;
  for (const at::Tensor& rows : sampled_rows(bank, shards_, chains_)) {
    shards.push_back(all.select(rows.to(all.state.device())));
  }
  return trainer.draws(shards).states.contiguous();
}

void BankEvaluation::observe(Trainer& trainer, IterationRecord& record) {
  Stopwatch watch;
  const at::Tensor draws = features_of(trainer).index_select(0, counted_rows(trainer.bank()));
  const OneThreadEach one_thread;
  const double within = mean_kernel_within(draws, world_);
  // Of rank 0: other processors may round otherwise, and all ranks must find the same one best.
  double told[2] = {distance(draws, within, training_),
                    test_ ? distance(draws, within, *test_) : IterationRecord::undefined};
  world_.broadcast(std::as_writable_bytes(std::span(told)), 0);
  const auto number = [](double kid) {
    return std::isfinite(kid) ? kid : IterationRecord::undefined;
  };
  record.kid_train = number(told[0]);
  record.kid_test = number(told[1]);
  record.seconds_evaluation = watch.lap();
}

std::string BankEvaluation::text_of(const IterationRecord& record) const {
  return fmt::format("evaluation: KID·1000 {:.1f} to training images{}, of {} chains, in {:.2f} s",
                     1000 * record.kid_train,
                     test_ ? fmt::format(", {:.1f} to test images", 1000 * record.kid_test) : "",
                     counted_, record.seconds_evaluation);
}

}  // namespace stanley
