#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "config/config.hpp"
#include "parallel/shards.hpp"
#include "sampler/transition.hpp"

namespace stanley {

/// Gives new states to chains: fills batch.state for batch.ids at this iteration.
using StartState = std::function<void(ChainBatch& batch, std::int64_t iteration)>;

/// Starts all chains of the batch, so many at a time that what this takes beside them stays small.
void start_in_blocks(const ChainBatch& batch, std::int64_t iteration, const StartState& start);

/// This rank's persistent chains: those of its shards, in place, on its device. Shard s of S holds
/// the chains s·C/S … (s+1)·C/S − 1.
class Bank {
 public:
  /// Chains without states: call start_all() or fill arrays that come from a checkpoint.
  Bank(const ChainsConfig& config, const std::vector<std::int64_t>& state_shape,
       const Shards& shards, std::uint32_t seed, std::uint32_t attempt, at::Device device);

  /// Every chain gets a start state, that of iteration 0 (a chain that restarts in that very
  /// iteration gets the same again); ages and restarts become 0.
  void start_all(const StartState& start);

  /// The active chains of `iteration`, shard after shard: each shard walks through its chains by a
  /// keyed permutation, every chain once in C/B iterations. Returns copies of their states, those
  /// that restart (each with `restart_probability`) already anew.
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
  const Shards& shards() const { return shards_; }
  /// Global id of this rank's first chain.
  std::int64_t first_id() const { return shards_.first * per_shard_; }

  at::Tensor& state() { return state_; }               ///< [local_count, state shape]
  std::vector<std::int64_t>& ages() { return ages_; }  ///< steps since the start, [local_count]
  std::vector<std::int64_t>& restarts() { return restarts_; }  ///< [local_count]

 private:
  ChainBatch batch_of(const std::vector<std::int64_t>& rows) const;

  std::int64_t per_shard_, active_per_shard_, passes_;  // passes_: iterations that visit all
  Shards shards_;
  std::uint32_t seed_, attempt_;
  at::Tensor state_;
  std::vector<std::int64_t> ages_, restarts_;
  std::vector<std::int64_t> visited_;  // rows of the last visit
  std::int64_t restarts_in_visit_ = 0;
};

}  // namespace stanley
