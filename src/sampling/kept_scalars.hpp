#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "parallel/communicator.hpp"
#include "sampling/draw_block.hpp"
#include "storage/array.hpp"

namespace stanley {

/// What the closing table is made of: of some chains, evenly from all shards and whole super-chains
/// at a time, the energy and up to 16 coordinates, evenly spaced, of some draws. At most 2^24
/// numbers (134 MB) are kept over all ranks, or 8 draws of each chain where those are more: beyond
/// that every other draw is dropped, and only every second, fourth, ... is kept from then on. Which
/// they are depends on the configuration alone.
class KeptScalars {
 public:
  KeptScalars(const Config& config, const RankChains& rows, std::int64_t dimension);

  void add(std::int64_t number, const Draw& draw);

  /// Of all ranks.
  std::int64_t chains() const { return rows_.shards.total * per_shard_; }
  std::int64_t draws() const { return static_cast<std::int64_t>(draws_.size()); }
  std::int64_t every() const { return every_; }  ///< each so manieth draw is kept
  std::int64_t quantities() const { return 1 + static_cast<std::int64_t>(coordinates_.size()); }
  /// "energy", "x[0]", ...
  std::string name(std::int64_t quantity) const;

  /// Collective. [quantity][chain][draw] of all ranks.
  std::vector<double> gather(Communicator& communicator) const;

  /// A copy of it for a checkpoint, [chain][draw][quantity] in `keep`, none where nothing is kept;
  /// or, before it is filled, of the `draws` that a checkpoint has.
  std::vector<ArrayView> arrays(std::int64_t draws, std::vector<double>& keep) const;
  /// Takes what arrays(), filled, shows in `keep`, kept of each `every`-th draw.
  void take(const std::vector<double>& keep, std::int64_t draws, std::int64_t every);

 private:
  std::int64_t local() const { return rows_.shards.count * per_shard_; }
  std::size_t place(std::int64_t chain, std::int64_t quantity) const {
    return static_cast<std::size_t>(chain * quantities() + quantity);
  }

  RankChains rows_;
  std::int64_t per_shard_, most_draws_, every_ = 1;
  std::vector<std::int64_t> chains_;        // of a shard
  std::vector<std::int64_t> coordinates_;   // of a state
  std::vector<std::vector<double>> draws_;  // [chain of this rank][quantity] of each
};

}  // namespace stanley
