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
class UnknownSchema : public Error {
 public:
  explicit UnknownSchema(const std::string& message) : Error(ExitCode::input_output, message) {}
};

/// Throws UnknownSchema unless the version "major.minor" has a major number that we read.
void check_schema_major(const std::string& path, const std::string& version);

/// Where the digests of an array stand.
std::string digests_name(const std::string& array);

/// One rank alone: everything of a checkpoint but the arrays' values and digests.
void create_checkpoint_schema(const hdf5::File& file, const CheckpointContents& contents,
                              int world_size);

/// A shard of an array whose bytes don't agree with its digest.
struct DamagedShard {
  std::size_t array{0};   ///< its place in CheckpointHeader::arrays
  std::int64_t shard{0};  ///< 0 for a replicated array
};

/// Collective, inside in_collective(): the shards that rank `rank` of `size` has to check, against
/// their digests. With a communicator of one rank, each rank reads for itself.
std::vector<DamagedShard> damaged_shards(Communicator& communicator, const hdf5::File& file,
                                         const CheckpointHeader& header, int rank, int size,
                                         const Progressed& progressed);

/// Collective, inside in_collective(): every array of the file against its digests, the shards
/// dealt over the ranks. The first thing that this rank found wrong.
std::optional<std::string> verify_arrays(Communicator& communicator, const hdf5::File& file,
                                         const CheckpointHeader& header,
                                         const Progressed& progressed);

}  // namespace stanley
