#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "evaluation/class_histogram.hpp"

namespace stanley {

/// Which classes a classifier sees in states of a class of ages.
struct ClassesByAge {
  std::string name;  ///< "ages 120 to 379"
  std::array<std::int64_t, 2> ages{0, 0};
  ClassHistogram states;
  double variation = 0, variation_by_chance = 0;  ///< total_variation() of them and the reference
};

/// Which classes a classifier sees in the states, in the reference, and what labels say of the
/// reference.
struct ClassesFound {
  std::string classifier, digest;  ///< its name, and the digest of its weights
  std::vector<std::string> names;
  ClassHistogram states, reference;
  std::optional<ClassHistogram> labels;  ///< none where the data have none
  std::optional<double> right;           ///< share of the reference that it sees as labelled
  double variation = 0, variation_by_chance = 0;  ///< total_variation() of states and reference
  std::vector<ClassesByAge> by_age;               ///< none where all are of one class
};

/// Of distances to a nearest one.
inline constexpr std::array<double, 7> quantile_levels{0, 0.05, 0.25, 0.5, 0.75, 0.95, 1};

/// Distances of states to their nearest ones, beside those of images of the reference.
struct NearestDistances {
  std::int64_t states = 0, reference = 0;                                  ///< how many
  std::array<double, quantile_levels.size()> of_states{}, of_reference{};  ///< quantiles
  /// Shares of the states that are nearer than the median, and than the 5 % quantile, of the
  /// reference: 0.5 and 0.05 for states of its law, more where they are copies.
  double nearer_than_median = 0, nearer_than_5_percent = 0;
  std::int64_t copies = 0;  ///< states nearer than a thousandth of the reference's median
};

/// Distances of states of a class of ages.
struct DistancesByAge {
  std::string name;  ///< "ages 120 to 379"
  std::array<std::int64_t, 2> ages{0, 0};
  NearestDistances to_training;
};

/// A state, or an image of the reference, and the training image that is nearest to it.
struct NearestPair {
  std::int64_t number = 0, training = 0;
  double distance = 0;
};

/// What states have of the images that they were trained on, and of each other.
struct NeighboursFound {
  std::string split, data_digest;  ///< of the training images
  std::int64_t training = 0;       ///< the first so many
  NearestDistances to_training;
  std::vector<DistancesByAge> by_age;          ///< none where all are of one class
  std::optional<NearestDistances> to_others;   ///< none where all states are of one chain
  std::vector<NearestPair> nearest;            ///< the states nearest to a training image
  std::vector<NearestPair> states, reference;  ///< some at even steps of their number
};

/// What `stanley evaluate` says of classes and of memory, where it is asked to.
struct Diversity {
  std::optional<ClassesFound> classes;
  std::optional<NeighboursFound> neighbours;
};

void to_json(nlohmann::ordered_json& json, const Diversity& diversity);
/// For people; ends with a line's end.
std::string as_text(const Diversity& diversity);

/// Keeps what an older result says and `diversity`, both as to_json() makes them, doesn't.
void keep_older(nlohmann::ordered_json& diversity, const nlohmann::ordered_json& older);

}  // namespace stanley
