#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/error.hpp"
#include "storage/checkpoint.hpp"
#include "storage/hdf5.hpp"

namespace stanley {

/// A file of a schema that this program doesn't know: no older file may be taken in its place.
class UnknownSchema : public FileError {
 public:
  using FileError::FileError;
};

/// Throws UnknownSchema unless the version "major.minor" has a major number that we read.
void check_schema_major(const std::string& path, const std::string& version);

/// Where the digests of an array stand.
std::string digests_name(const std::string& array);

/// One rank alone: everything of a checkpoint but the values and digests of the sharded arrays.
void create_checkpoint_schema(const hdf5::File& file, const CheckpointContents& contents,
                              int world_size, const Progressed& progressed);

/// A shard of an array whose bytes don't agree with its digest.
struct DamagedShard {
  std::size_t array{0};   ///< its place in CheckpointHeader::arrays
  std::int64_t shard{0};  ///< 0 for a replicated array
};

/// Which of a checkpoint's arrays: sharded ones are read by all ranks together, replicated ones by
/// one rank alone, since each collective call costs the same however little it moves.
enum class Kind { sharded, replicated };

/// The shards that rank `rank` of `size` has to check, against their digests. Collective, inside
/// in_collective(); with a communicator of one rank, each rank reads for itself.
std::vector<DamagedShard> damaged_shards(Communicator& communicator, const hdf5::File& file,
                                         const CheckpointHeader& header, Kind kind, int rank,
                                         int size, const Progressed& progressed);

/// What is wrong with an array, and where: in these shards, or in all of a replicated one.
std::string damage_text(const std::string& array, const std::vector<std::int64_t>& shards = {});

/// Collective: every array of the file against its digests, the shards dealt over the ranks. The
/// first thing that was found wrong, the same on all ranks; empty if nothing was.
std::string verify_arrays(Communicator& communicator, const CheckpointHeader& header,
                          const FileOptions& options);

}  // namespace stanley
