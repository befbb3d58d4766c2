#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "parallel/communicator.hpp"
#include "storage/array.hpp"
#include "storage/commit.hpp"

namespace stanley {

namespace hdf5 {
class Dataset;
}

/// One number for each chain and draw: lp, potential_energy, age, restarts, acceptance_rate, ...
struct DrawStatistic {
  std::string name{};
  ElementType type{ElementType::float32};
  const void* data{nullptr};  ///< [chain_count][draws]
};

/// Draws of many chains, as they stand in a file. Chains are dealt over the ranks in order; a rank
/// may have none.
struct DrawSet {
  std::vector<std::int64_t> state_shape{};  ///< (channel, height, width) or (dimension)
  std::int64_t chains{0};                   ///< in the file, over all ranks: ids 0 to chains - 1
  std::int64_t chains_per_shard{1};         ///< chunks don't cross a multiple of it
  std::int64_t first_chain{0};              ///< this rank's chains: a multiple of chains_per_shard
  std::int64_t chain_count{0};
  std::vector<std::int64_t> draw_numbers{};  ///< coordinates: iterations or steps, one per draw
  const float* states{nullptr};              ///< [chain_count][draws][state_shape...]
  std::vector<DrawStatistic> statistics{};   ///< the same names and types on all ranks
  /// Data samples to compare with, as /observed_data/x (sample, state_shape...): rank 0's count.
  std::vector<float> observed{};
  /// Of the file and of both groups (ArviZ reads the groups'): created_at, seed, ...
  std::map<std::string, std::variant<std::string, std::int64_t, double>> attributes{};
};

/// Shape of the chunks of a (chain, draw, ...) array: at most 8 MiB and as near to it as the array
/// allows, within one shard.
std::vector<std::int64_t> chunk_shape(const std::vector<std::int64_t>& shape,
                                      std::int64_t chains_per_shard, std::size_t bytes_per_element);

/// Collective. Writes `path`: /posterior/x (chain, draw, channel, height, width) or (chain, draw,
/// dimension) float32 and /sample_stats/<name> (chain, draw), as netCDF-4 and ArviZ read them.
/// Each of these arrays has two attributes: `digest_chains`, a number of chains, and `digest`, the
/// 64-bit digest (XXH3) of the digests of the values of each so many chains (fewer at the end).
CommitReport write_draws(Communicator& communicator, const std::string& path, const DrawSet& draws,
                         const FileOptions& options);

/// One rank: whether a file is one of draws, as far as its groups tell.
bool is_draw_file(const std::string& path);

/// One rank: reads all of an array of a draw file, which makes HDF5 check the chunks' checksums
/// too; calls `progressed` before and after each piece. None if it has no digest, as in schema 1.0.
std::optional<bool> agrees_with_digest(const hdf5::Dataset& array, const Progressed& progressed);

}  // namespace stanley
