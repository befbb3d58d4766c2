#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "energy/network.hpp"
#include "parallel/shards.hpp"
#include "sampling/describe_draws.hpp"
#include "storage/array.hpp"
#include "storage/draws.hpp"

namespace stanley {

/// This rank's chains: neighbours, those of its shards.
struct RankChains {
  Shards shards;
  std::int64_t per_shard = 0;

  std::int64_t count() const { return shards.count * per_shard; }
  std::int64_t first() const { return shards.first * per_shard; }
  std::int64_t total() const { return shards.total * per_shard; }
  /// A view of an array that has `each` rows for a shard.
  ArrayView view(std::string name, std::int64_t each) const {
    ArrayView view{.name = std::move(name)};
    view.shape = {shards.total * each};
    view.shards = shards.total;
    view.first_shard = shards.first;
    view.shard_count = shards.count;
    return view;
  }
};

/// What is told of all this rank's chains at one draw.
struct Draw {
  at::Tensor states;      ///< [n, state shape] float32, on the CPU
  at::Tensor energies;    ///< [n] float64
  at::Tensor acceptance;  ///< [n] float64: share of the steps since the draw before
  std::int64_t age = 0;   ///< chain steps since the start
};

/// Draws that become one file: its memory is there from the start.
class DrawBlock {
 public:
  /// Of the draws `first` to first + size − 1.
  DrawBlock(std::int64_t first, std::int64_t size, const RankChains& rows, const StateShape& shape);

  void add(const Draw& draw);

  std::int64_t first() const { return first_; }
  std::int64_t count() const { return static_cast<std::int64_t>(ages_.size()); }
  bool full() const { return count() == states_.size(1); }

  /// Collective: as write_draws(), of the draws that are there.
  CommitReport write(Communicator& communicator, const std::string& path, const Config& config,
                     const decltype(DrawSet::attributes)& attributes,
                     const FileOptions& options) const;

  /// Copies of `count` draws for a checkpoint, none where there are none: "block/state", ...; where
  /// the block is anew, to be filled from there. `keep` holds their memory.
  std::vector<ArrayView> arrays(std::int64_t count, std::vector<at::Tensor>& keep) const;
  /// Takes the draws that arrays() of a new block, filled, show in `keep`.
  void take(const std::vector<at::Tensor>& keep);

 private:
  std::int64_t first_;
  RankChains rows_;
  at::Tensor states_, energies_, acceptance_;  // [n, size, ...]
  std::vector<std::int64_t> ages_;             // of the draws
};

/// "FOLDER/draws-00000120.nc", by the first draw.
std::string draws_path(const std::string& folder, std::int64_t first);

}  // namespace stanley
