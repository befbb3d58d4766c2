#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "parallel/communicator.hpp"
#include "storage/array.hpp"
#include "storage/commit.hpp"

namespace stanley {

using Progress = std::map<std::string, Number>;

/// The progress value of this name. Error(input_output) if there is none, or one of another kind.
std::int64_t integer_of(const Progress& progress, const std::string& name);
double real_of(const Progress& progress, const std::string& name);

/// What a checkpoint holds (design, "Files").
struct CheckpointContents {
  std::int64_t iteration{0};
  std::vector<ArrayView> arrays{};  ///< "parameters/layers.0.weight", "chains/state", ...
  Progress progress{};              ///< attributes of /progress
  std::map<std::string, std::string> texts{};  ///< root attributes: config, versions, ...
  bool best{false};                            ///< no evaluation of the run was better
};

/// An array of a checkpoint file.
struct StoredArray {
  std::string name{};
  ElementType type{ElementType::float32};
  std::vector<std::int64_t> shape{};
  std::int64_t shards{0};                ///< 0: replicated
  std::vector<std::uint64_t> digests{};  ///< one for each shard, or one
};

/// All that a checkpoint says about itself.
struct CheckpointHeader {
  std::string path{};
  std::string schema_version{};
  std::int64_t iteration{0};
  std::int64_t world_size{0};
  Progress progress{};
  std::map<std::string, std::string> texts{};
  std::vector<StoredArray> arrays{};  ///< in alphabetical order

  /// Nothing if there is no array of this name.
  const StoredArray* find(const std::string& name) const;
  /// Nothing if there is no text of this name.
  std::optional<std::string> text(const std::string& name) const;
};

/// "DIRECTORY/iteration-00000500.h5"
std::string checkpoint_path(const std::string& directory, std::int64_t iteration);

/// Symbolic link beside the checkpoints, to the newest one.
inline constexpr const char* latest_link = "latest";

/// Symbolic link beside the checkpoints, to the one whose chains were nearest to the training data.
inline constexpr const char* best_link = "best";

/// The progress value that has the iteration of that one.
inline constexpr const char* best_progress = "best_iteration";

/// The iteration of the best evaluation that a checkpoint knows of; none where it knows of none.
std::optional<std::int64_t> best_iteration(const Progress& progress);

/// Collective. Writes DIRECTORY/iteration-<iteration>.h5 and moves the link `latest` to it, and
/// `best` where it is that. All ranks give the same contents but for their parts of the arrays.
CommitReport write_checkpoint(Communicator& communicator, const std::string& directory,
                              const CheckpointContents& contents, const FileOptions& options);

/// Collective. Throws Error(environment) on all ranks, naming an array, the first rank that holds
/// another one than rank 0, and both hosts, unless the replicated arrays are bitwise the same on
/// all ranks: each rank updates its own copy, and a processor, a library or a memory that computes
/// otherwise would go unnoticed. Costs one small exchange where all is well.
void check_replicas(Communicator& communicator, const std::vector<std::string>& hosts,
                    const std::vector<ArrayView>& arrays);

/// Memory that write_checkpoint() takes on this rank beside the arrays, bytes.
std::size_t writing_bytes(const std::vector<ArrayView>& arrays);

/// One rank alone, without MPI. Throws Error(input_output) if the file is missing, truncated, has
/// damage where it describes itself, or has a schema of another major version. Reads no array.
CheckpointHeader read_checkpoint_header(const std::string& path);

/// Collective. The header, read by one rank, and every array checked against its digests by all
/// ranks together; its path is that of the file, where `name` is a link. Throws Error(input_output)
/// with the reason if the file doesn't verify.
CheckpointHeader verify_checkpoint(Communicator& communicator, const std::string& name,
                                   const FileOptions& options);

/// A checkpoint that was passed over.
struct PassedOver {
  std::string path{};
  std::string reason{};
};

struct FoundCheckpoint {
  std::optional<CheckpointHeader> header{};  ///< the newest one that verifies
  std::vector<PassedOver> passed_over{};     ///< newer ones, newest first
};

/// Collective. Looks for the newest checkpoint of a directory that verifies. None there: no header
/// and nothing passed over. Throws Error(input_output) if there are some and none verifies, or if
/// the newest readable one has a schema of another major version: nothing may start over silently.
FoundCheckpoint find_checkpoint(Communicator& communicator, const std::string& directory,
                                const FileOptions& options);

/// How the shards of a file may differ from those of its reader: a run that resumes has the same, a
/// branch may choose others.
enum class Sharding { same, any };

/// Throws Error(input_output) unless the checkpoint has each of these arrays with its type and
/// shape, and, where there are some of /parameters or /average among them, all of those: else it is
/// a checkpoint of another network. Not collective.
void check_arrays(const CheckpointHeader& header, const std::vector<ArrayView>& arrays,
                  Sharding sharding);

/// Collective. Fills the arrays (each rank its own shards, all ranks the replicated ones) and
/// checks them against their digests; Error(input_output) on all ranks if one doesn't agree.
void read_checkpoint(Communicator& communicator, const CheckpointHeader& header,
                     const std::vector<ArrayView>& arrays, Sharding sharding,
                     const FileOptions& options);

/// Iterations of the checkpoints in a directory, newest first, whether they verify or not; none if
/// there is no such directory.
std::vector<std::int64_t> list_checkpoints(const std::string& directory);

/// Removes all but the newest `keep_last` checkpoints, those of multiples of `keep_every`, and
/// those of the iterations in `keep`.
void retain_checkpoints(const std::string& directory, std::int64_t keep_last,
                        std::optional<std::int64_t> keep_every,
                        const std::set<std::int64_t>& keep = {});

/// Removes the unfinished checkpoints, draws and links (NAME.part.<job>) that a killed training
/// left, and no other file: an analysis may be writing beside them. For the owner of a run
/// directory, when its writer is not at work.
void remove_unfinished(const std::string& directory);

}  // namespace stanley
