#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "evaluation/pairs.hpp"
#include "parallel/communicator.hpp"
#include "storage/checkpoint.hpp"
#include "storage/stored_states.hpp"

namespace stanley {

/// The states that are judged, and what their file says of them.
struct Subject {
  std::string path, kind;  ///< of the file, without links; "checkpoint" or "draws"
  std::optional<std::int64_t> iteration;
  /// Of draws that `stanley sample` made: the checkpoint, as it was named, and which weights with
  /// which digest.
  std::string checkpoint, weights_digest;
  std::optional<std::string> weights;
  std::string denoised;                 ///< how, where its states already are
  Config config;                        ///< that they were made under
  std::vector<PassedOver> passed_over;  ///< newer checkpoints of the run that don't verify
  std::unique_ptr<StoredStates> states;
};

/// Collective. Opens a checkpoint, a draw file, or the newest checkpoint of a run directory that
/// verifies, after reading all of it once to see that it is to be trusted. Errors: input_output.
Subject open_subject(const std::string& name, Communicator& communicator);

/// Of a jackknife over chains, at most.
inline constexpr std::int64_t most_groups = 20;

/// The states that are judged and how they are sorted.
struct SortedStates {
  std::int64_t count = 0, chains = 0;
  std::vector<std::int64_t> rows{};  ///< their numbers in the file, ascending
  std::int64_t younger = 0;          ///< that were passed over for their age
  std::vector<std::int64_t> ages;    ///< of each state; zeros where the file doesn't tell
  Sorting sorting;
};

/// Takes the first `most` states that are no younger than `minimum_age` (where there is none, the
/// first ones of any age) and sorts them into classes by the quartiles of their ages (equal ages
/// are of one class) and by chains into up to 20 groups for a jackknife: all draws of a chain are
/// of one group.
SortedStates sort_states(const StoredStates& states, std::int64_t most, std::int64_t minimum_age);

/// Reads the sorted states first to first + count − 1 to out [count, shape...].
void read_states(const StoredStates& states, const SortedStates& sorted, std::int64_t first,
                 std::int64_t count, float* out);

/// Some of the states, and the ages of the youngest and the oldest of them.
struct AgeClass {
  std::array<std::int64_t, 2> ages{0, 0};
  std::vector<std::int64_t> states;  ///< their numbers, ascending; at least one

  std::string name() const;  ///< "ages 120 to 379"
};

/// All states as one class.
AgeClass all_ages(const SortedStates& states);
/// The classes of ages, the youngest first; none where all are of one.
std::vector<AgeClass> age_classes(const SortedStates& states);

}  // namespace stanley
