#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "config/config.hpp"
#include "parallel/shards.hpp"
#include "sampler/transition.hpp"
#include "storage/array.hpp"

namespace stanley {

/// Gives new states to chains: fills batch.state, and batch.condition where there is one, for
/// batch.ids at this iteration.
using StartState = std::function<void(ChainBatch& batch, std::int64_t iteration)>;

/// Starts all chains of the batch, so many at a time that what this takes beside them stays small.
void start_in_blocks(const ChainBatch& batch, std::int64_t iteration, const StartState& start);

/// This rank's persistent chains: those of its shards, in place, on its device. Shard s of S holds
/// the chains s·C/S … (s+1)·C/S − 1.
class Bank {
 public:
  /// Chains without states: call start_all() or fill arrays() that come from a checkpoint. They
  /// have `memory`, and where the energy is `conditional` a condition.
  Bank(const ChainsConfig& config, const std::vector<std::int64_t>& state_shape,
       const Shards& shards, std::uint32_t seed, std::uint32_t attempt, at::Device device,
       std::vector<Memory> memory = {}, bool conditional = false);

  /// Every chain gets a start state, that of iteration 0 (a chain that restarts in that very
  /// iteration gets the same again); ages and restarts become 0.
  void start_all(const StartState& start);

  /// Every chain goes on from its state here [local_count, state shape], as if it had just started,
  /// in a new stage that begins at `iteration`; `restarts` count on. Ages become 0, and each first
  /// life of the stage ends at a random age as those of iteration 0 do.
  void begin_stage(const at::Tensor& states, std::vector<std::int64_t> restarts,
                   std::int64_t iteration);
  /// The stage of the chains that arrays() will be filled with began at `iteration`; above 0 they
  /// have "chains/restarts_before", how often each had restarted until then.
  void expect_stage(std::int64_t iteration);

  /// The active chains of `iteration`, shard after shard: each shard walks through its chains by a
  /// keyed permutation, every chain once in C/B iterations of a stage. Returns copies of their
  /// states, those that restart (each with `restart_probability`, and those of `maximum_age`)
  /// already anew. A chain's first life ends at a random age up to there, else all would restart
  /// together.
  ChainBatch visit(std::int64_t iteration, double restart_probability, const StartState& start);

  /// Puts the moved states of the last visit() back, `steps` older.
  void put_back(const ChainBatch& batch, std::int64_t steps);

  /// Chains that restarted in the last visit().
  std::int64_t restarts_in_visit() const { return restarts_in_visit_; }
  /// Ages of the chains of the last visit(), in the order of its batch.
  std::vector<std::int64_t> visited_ages() const;

  std::int64_t local_count() const { return shards_.count * per_shard_; }
  std::int64_t chains_per_shard() const { return per_shard_; }
  std::int64_t active_per_shard() const { return active_per_shard_; }
  /// Global id of this rank's first chain.
  std::int64_t first_id() const { return shards_.first * per_shard_; }

  at::Tensor& state() { return chains_.state; }  ///< [local_count, state shape]
  /// This rank's first `count` chains, where they are.
  ChainBatch chains(std::int64_t count) const { return chains_.narrow(0, count); }
  std::vector<std::int64_t>& ages() { return ages_; }  ///< steps since the start, [local_count]
  std::vector<std::int64_t>& restarts() { return restarts_; }  ///< [local_count]

  /// What a checkpoint keeps of the chains: "chains/state", "chains/age", "chains/restarts",
  /// "chains/condition" where there is one, and a "chains/NAME" for each memory.
  std::vector<ArrayView> arrays();
  /// Whether an array of this name is what a transition keeps.
  bool is_memory(const std::string& name) const;

 private:
  at::Tensor on_device(const std::vector<std::int64_t>& values) const;
  void forget(const ChainBatch& batch) const;
  bool too_old(std::int64_t row) const;

  std::int64_t per_shard_, active_per_shard_, passes_;  // passes_: iterations that visit all
  Shards shards_;
  std::uint32_t seed_, attempt_;
  std::optional<std::int64_t> maximum_age_;
  std::vector<Memory> memory_;
  ChainBatch chains_;
  std::vector<std::int64_t> ages_, restarts_;
  std::int64_t stage_began_ = 0;
  std::vector<std::int64_t> restarts_before_;  // before that; zeros in the first stage
  std::vector<std::int64_t> visited_;          // rows of the last visit
  std::int64_t restarts_in_visit_ = 0;
};

}  // namespace stanley
