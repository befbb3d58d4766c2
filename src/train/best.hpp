#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "storage/checkpoint.hpp"

namespace stanley {

/// An evaluation that was better than all before it.
struct Best {
  std::int64_t iteration = 0;
  double kid = 0;  ///< to training images

  bool operator==(const Best&) const = default;
};

/// The evaluations of a run that were each better than all before: the newest is the best. Older
/// ones are what a roll-back goes back to.
class Bests {
 public:
  /// `features`: those that the KIDs are told in, and of how many chains; others can't be compared
  /// with them. Empty: this start evaluates nothing, and only remembers.
  explicit Bests(std::string features = "", std::int64_t chains = 0)
      : features_(std::move(features)), chains_(chains) {}

  /// Whether this evaluation is better than all before. A KID that isn't a number never is.
  bool take(std::int64_t iteration, double kid);
  std::optional<Best> newest() const;
  /// Forgets all after `iteration`: the run goes back there.
  void go_back(std::int64_t iteration);
  /// Forgets the one of this iteration, whose states could not be kept.
  void forget(std::int64_t iteration);

  /// Iterations whose checkpoints must stay: the best, and the best as of each of those to which
  /// the run may go back.
  std::set<std::int64_t> kept(const std::set<std::int64_t>& targets) const;

  /// What a checkpoint remembers of the best.
  void add_to(Progress& progress, std::map<std::string, std::string>& texts) const;
  /// Takes over what a checkpoint remembers; older checkpoints first. False where it is told in
  /// other features or of another sample, and stays unknown.
  bool learn(const CheckpointHeader& header);

  const std::vector<Best>& all() const { return bests_; }
  const std::string& features() const { return features_; }
  std::int64_t chains() const { return chains_; }

 private:
  std::string features_;
  std::int64_t chains_;
  std::vector<Best> bests_;  // by rising iteration and falling KID
};

/// Collective. What the checkpoints of a directory remember: that of the iteration from which the
/// run goes on, and those of `targets`, to which it may go back. Leaves out evaluations whose
/// checkpoint is gone. `asking`: of this start, knows nothing yet. `told_otherwise`: set where they
/// can't be compared with those of this start.
Bests recall_bests(Communicator& world, const std::string& directory, std::int64_t iteration,
                   const std::set<std::int64_t>& targets, const Bests& asking,
                   bool& told_otherwise);

}  // namespace stanley
