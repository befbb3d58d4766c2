#include "evaluation/diversity.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>
#include <vector>

#include "chains/tensor_view.hpp"
#include "config/error.hpp"
#include "evaluation/energies.hpp"
#include "evaluation/row_progress.hpp"
#include "parallel/agree.hpp"
#include "storage/array.hpp"
#include "storage/data_file.hpp"

namespace stanley {
namespace {

constexpr std::int64_t training_at_once = 4096;  // images whose features are in memory
constexpr std::int64_t pairs_shown = 12;

[[noreturn]] void refuse_request(const std::string& reason) {
  throw Error(ExitCode::configuration, reason);
}

bool takes(const FeatureNetwork& network, const std::vector<std::int64_t>& shape) {
  const FeatureInput& input = network.input();
  return shape == std::vector{input.channels, input.height, input.width};
}

/// One rank. Throws Error(configuration) where a data file hasn't the split that a run was trained
/// on, or where its images are the reference themselves.
void check_training_split(const DataConfig& data, const Protocol& protocol) {
  if (data.type != DataType::file) return;
  if (protocol.split == data.split) {
    refuse_request(
        fmt::format("--neighbours compares with held-out images, and '{}' is the split that the "
                    "run was trained on: name another one with --split",
                    data.split));
  }
  const DataFile file(data.path);
  if (std::ranges::find(file.splits(), data.split) != file.splits().end()) return;
  refuse_request(
      fmt::format("{} has no split '{}', which the run was trained on ({}): leave --neighbours "
                  "out",
                  data.path, data.split, fmt::join(file.splits(), ", ")));
}

/// `count` numbers from 0 to n − 1 at even steps.
at::Tensor even_steps(std::int64_t count, std::int64_t n) {
  return at::floor_divide(at::arange(count, at::kLong) * n, count);
}

/// The rows of these states.
at::Tensor rows_of(const at::Tensor& all, const AgeClass& ages) {
  return all.index_select(0, at::tensor(ages.states, at::kLong));
}

std::vector<NearestPair> pairs_of(const Nearest& found, const at::Tensor& numbers) {
  std::vector<NearestPair> pairs;
  for (std::int64_t i = 0; i < numbers.size(0); ++i) {
    const auto number = numbers[i].item<std::int64_t>();
    pairs.push_back({number, found.indices[number].item<std::int64_t>(),
                     found.distances[number].item<double>()});
  }
  return pairs;
}

std::vector<NearestPair> nearest_pairs(const Nearest& found) {
  const at::Tensor order = at::argsort(found.distances, /*stable=*/true, /*dim=*/0, false);
  return pairs_of(found, order.slice(0, 0, pairs_shown));
}

std::vector<NearestPair> even_pairs(const Nearest& found) {
  const std::int64_t n = found.distances.size(0);
  return pairs_of(found, even_steps(std::min(pairs_shown, n), n));
}

std::array<double, quantile_levels.size()> quantiles_of(const at::Tensor& numbers) {
  const at::Tensor sorted = std::get<0>(numbers.sort());
  const std::span<double> values = values_of<double>(sorted);
  const std::vector<double> ascending(values.begin(), values.end());
  std::array<double, quantile_levels.size()> quantiles{};
  std::ranges::transform(quantile_levels, quantiles.begin(),
                         [&](double level) { return quantile(ascending, level); });
  return quantiles;
}

/// Of as many states as images, at most: the nearest other one is the nearer the more there are.
/// None where a state has no other of another chain.
std::optional<NearestDistances> compare_with_others(const SortedStates& sorted,
                                                    const at::Tensor& draws,
                                                    const at::Tensor& images,
                                                    Communicator& communicator) {
  if (sorted.chains < 2) return std::nullopt;
  const std::int64_t count = std::min(draws.size(0), images.size(0));
  const at::Tensor some_draws = even_steps(count, draws.size(0));
  const at::Tensor some_images = even_steps(count, images.size(0));
  const at::Tensor chains = at::tensor(sorted.sorting.chain_of, at::kLong);
  const Nearest states = nearest_others(draws.index_select(0, some_draws),
                                        chains.index_select(0, some_draws), communicator);
  const Nearest reference = nearest_others(images.index_select(0, some_images),
                                           at::arange(count, at::kLong), communicator);
  if (!states.distances.isfinite().all().item<bool>()) return std::nullopt;
  return compare_nearest(states, reference);
}

}  // namespace

NearestDistances compare_nearest(const Nearest& states, const Nearest& reference) {
  NearestDistances found{.states = states.distances.size(0),
                         .reference = reference.distances.size(0),
                         .of_states = quantiles_of(states.distances),
                         .of_reference = quantiles_of(reference.distances)};
  const auto nearer_than = [&](double limit) {
    return states.distances.lt(limit).to(at::kDouble).mean().item<double>();
  };
  found.nearer_than_5_percent = nearer_than(found.of_reference[1]);
  found.nearer_than_median = nearer_than(found.of_reference[3]);
  found.copies = states.distances.le(found.of_reference[3] / 1000).sum().item<std::int64_t>();
  return found;
}

DiversityPart::DiversityPart(const About& about, Communicator& communicator, Log& log)
    : about_(about), world_(communicator), log_(log) {
  load_classifier();
  if (about_.request.neighbours > 0) load_training();
}

void DiversityPart::load_classifier() {
  const std::string& path = about_.request.classifier;
  const std::vector<std::int64_t>& shape = about_.reference.shape();
  if (path.empty()) {
    const FeatureNetwork* network = about_.features.network();
    features_tell_classes_ =
        network != nullptr && !network->classes().empty() && takes(*network, shape);
  } else {
    own_features_.emplace(Features::load(
        {.path = path, .protocol = "", .option = "--classifier", .owner = about_.subject.path},
        shape, about_.protocol.range, world_));
  }
  const FeatureNetwork* network = classifier();
  if (path.empty() && network == nullptr) return;
  if (network == nullptr || network->classes().empty() || !takes(*network, shape)) {
    refuse_request(
        fmt::format("--classifier: {} is no classifier of states of shape {}: "
                    "tools/train_classifier.py makes one from a labelled data file",
                    path, shape_text(shape)));
  }
  if (other_classes(*network)) {
    features_tell_classes_ = false;
    return;
  }
  const auto labels = about_.reference.labels();
  const auto classes = static_cast<std::int64_t>(network->classes().size());
  if (!labels.empty() && *std::ranges::max_element(labels) >= classes) {
    refuse_request(fmt::format(
        "the classifier {} knows {} classes, and {} has a label {}: train one on "
        "these data",
        network->name(), classes, about_.protocol.data, *std::ranges::max_element(labels)));
  }
}

/// Whether the data name other classes than the classifier; that is an error where it was asked
/// for, and features are features whatever they tell.
bool DiversityPart::other_classes(const FeatureNetwork& network) const {
  const std::vector<std::string>& named = about_.reference.class_names();
  if (named.empty() || named == network.classes()) return false;
  const std::string what = printable(fmt::format("the classes of {} are {}, and those of {} are {}",
                                                 network.name(), fmt::join(network.classes(), ", "),
                                                 about_.protocol.data, fmt::join(named, ", ")));
  if (own_features_) refuse_request(what + ": train a classifier on these data");
  log_.warn(what + ": they are not told");
  return true;
}

const FeatureNetwork* DiversityPart::classifier() const {
  if (own_features_) return own_features_->network();
  return features_tell_classes_ ? about_.features.network() : nullptr;
}

void DiversityPart::load_training() {
  DataConfig data = about_.subject.config.data;
  if (about_.request.data) {
    data.type = DataType::file;
    data.path = *about_.request.data;
  }
  on_first_rank(world_, [&] { check_training_split(data, about_.protocol); });
  training_ = Dataset::load(data, about_.subject.config.run.seed, world_);
  training_split_ = data.type == DataType::file ? data.split : "training";
  if (training_->size() < about_.request.neighbours ||
      training_->shape() != about_.reference.shape()) {
    refuse_request(fmt::format("--neighbours {}: the split '{}' of {} has {} images of shape {}",
                               about_.request.neighbours, training_split_, about_.protocol.data,
                               training_->size(), shape_text(training_->shape())));
  }
}

Diversity DiversityPart::judge(const StateRows& states, const SortedStates& sorted,
                               const at::Tensor& draws, const at::Tensor& images) {
  Diversity found;
  if (classifier() != nullptr) found.classes = classes(states, sorted, draws, images);
  if (training_) found.neighbours = neighbours(sorted, draws, images);
  return found;
}

ClassesFound DiversityPart::classes(const StateRows& states, const SortedStates& sorted,
                                    const at::Tensor& draws, const at::Tensor& images) {
  const FeatureNetwork& network = *classifier();
  const Dataset& reference = about_.reference;
  at::Tensor of_states = draws, of_reference = images;
  if (own_features_) {
    const StateRows rows{.count = images.size(0), .read = [&](auto first, auto count, float* out) {
                           for (std::int64_t i = 0; i < count; ++i) {
                             reference.copy_sample(first + i, out + i * reference.dimension());
                           }
                         }};
    of_states = own_features_->of(states, world_, RowProgress(log_, "classes", world_.size()));
    of_reference = own_features_->of(rows, world_);
  }
  const at::Tensor logits = network.logits(of_reference), seen = network.logits(of_states);
  if (!logits.isfinite().all().item<bool>() || !seen.isfinite().all().item<bool>()) {
    throw FileError(
        fmt::format("the logits of the classifier {} are not all finite numbers: train "
                    "another one with tools/train_classifier.py",
                    network.name()));
  }
  ClassesFound found{.classifier = network.name(),
                     .digest = network.digest(),
                     .names = network.classes(),
                     .states = histogram_of(seen),
                     .reference = histogram_of(logits)};
  if (!reference.labels().empty()) {
    const auto labels = reference.labels().first(static_cast<std::size_t>(images.size(0)));
    found.labels = histogram_of(labels, logits.size(1));
    const at::Tensor meant = at::tensor(std::vector(labels.begin(), labels.end()), at::kLong);
    found.right = logits.argmax(1).eq(meant).to(at::kDouble).mean().item<double>();
  }
  found.variation = total_variation(found.states, found.reference);
  found.variation_by_chance = total_variation_by_chance(found.states, found.reference);
  for (const AgeClass& ages : age_classes(sorted)) {
    const ClassHistogram one = histogram_of(rows_of(seen, ages));
    found.by_age.push_back({ages.name(), ages.ages, one, total_variation(one, found.reference),
                            total_variation_by_chance(one, found.reference)});
  }
  return found;
}

NeighboursFound DiversityPart::neighbours(const SortedStates& sorted, const at::Tensor& draws,
                                          const at::Tensor& images) {
  const std::int64_t all = about_.request.neighbours;
  NearestSearch of_states(draws), of_reference(images);
  for (std::int64_t first = 0; first < all; first += training_at_once) {
    const at::Tensor part = about_.features.of_reference(
        {.images = *training_,
         .data = about_.protocol.data,
         .split = training_split_,
         .count = std::min(training_at_once, all - first),
         .first = first},
        world_, log_, RowProgress(log_, "features of training images", world_.size()));
    agree(world_, [&] {
      of_states.add(part, first, world_);
      of_reference.add(part, first, world_);
    });
  }
  const Nearest states = of_states.finish(world_), reference = of_reference.finish(world_);
  std::vector<DistancesByAge> by_age;
  for (const AgeClass& ages : age_classes(sorted)) {
    const Nearest some{rows_of(states.distances, ages), rows_of(states.indices, ages)};
    by_age.push_back({ages.name(), ages.ages, compare_nearest(some, reference)});
  }
  return {.split = training_split_,
          .data_digest = training_->digest(),
          .training = all,
          .to_training = compare_nearest(states, reference),
          .by_age = std::move(by_age),
          .to_others = compare_with_others(sorted, draws, images, world_),
          .nearest = nearest_pairs(states),
          .states = even_pairs(states),
          .reference = even_pairs(reference)};
}

}  // namespace stanley
