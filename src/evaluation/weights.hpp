#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "evaluation/energies.hpp"
#include "evaluation/row_blocks.hpp"
#include "evaluation/subject.hpp"
#include "parallel/session.hpp"
#include "sampling/trained_energy.hpp"
#include "storage/checkpoint.hpp"
#include "storage/stored_states.hpp"

namespace stanley {

/// The trained energy that belongs to the states that are judged, on all ranks.
struct SubjectEnergy {
  Config config;  ///< of the training, but for device, threads and shards, which are this session's
  ComputeSetup setup;
  TrainedEnergy energy;
  EnergyUsed used;
  std::unique_ptr<StoredStates> bank;  ///< of its checkpoint

  /// States that go through the engine at once, the same on all ranks: where a number depends on
  /// the others of its batch, it doesn't depend on ranks.
  std::int64_t states_at_once() const;
};

/// Collective. Of a checkpoint; of draws: the checkpoint that they name, or that of their iteration
/// in the run where they lie. `weights`: "average" or "last"; by default as the draws say, else the
/// average where there is one. Errors, on all ranks alike: input_output where these weights aren't
/// there, or their checkpoint is damaged; else as `stanley sample`.
SubjectEnergy open_energy(const Subject& subject, const std::optional<std::string>& weights,
                          Session& session);

/// Writes states first to first + count − 1 to out [count, shape...].
using ReadStates = std::function<void(std::int64_t first, std::int64_t count, float* out)>;

/// Collective. The energies of `count` states, the same on all ranks, which share the work. No bit
/// of it depends on ranks or threads.
std::vector<double> energies_of_states(SubjectEnergy& of, std::int64_t count,
                                       const ReadStates& read, const RowsDone& done,
                                       Communicator& communicator);

}  // namespace stanley
