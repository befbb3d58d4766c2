#include <algorithm>

#include "config/error.hpp"
#include "parallel/agree.hpp"
#include "storage/checkpoint.hpp"
#include "storage/checkpoint_schema.hpp"
#include "storage/folder.hpp"
#include "storage/hdf5.hpp"
#include "storage/json_values.hpp"
#include "storage/seal.hpp"

// Which checkpoint to take: read by one rank, verified by all, and whether it fits.

namespace stanley {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(StoredArray, name, type, shape, shards, digests)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CheckpointHeader, path, schema_version, iteration, world_size,
                                   progress, texts, arrays)

namespace {

/// The header of a file, or why there is none.
struct Outcome {
  std::optional<CheckpointHeader> header{};
  std::string reason{};
  bool refused{false};  ///< of a schema that we don't know
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Outcome, header, reason, refused)

/// Rank 0: the header of a file whose progress is that of its iteration.
Outcome read_header(const std::string& path) {
  try {
    CheckpointHeader header = read_checkpoint_header(path);
    if (header.iteration >= 0 && integer_of(header.progress, "iteration") == header.iteration) {
      return {.header = std::move(header)};
    }
    return {.reason = "its progress is not that of its iteration"};
  } catch (const UnknownSchema& error) {
    return {.reason = error.what(), .refused = true};
  } catch (const std::exception& error) {
    return {.reason = error.what()};
  }
}

/// Rank 0: what is wrong with the seal.
std::string seal_reason(const CheckpointHeader& header) {
  try {
    return seal_problem(check_seal(header.path), header.schema_version);
  } catch (const std::exception& error) {
    return error.what();
  }
}

Outcome examine(Communicator& communicator, const std::string& path, const FileOptions& options) {
  Outcome outcome = from_first_rank(communicator, [&] { return read_header(path); });
  if (!outcome.header) return outcome;
  outcome.reason = verify_arrays(communicator, *outcome.header, options);
  // After the arrays, whose reasons say more.
  if (outcome.reason.empty()) {
    outcome.reason = from_first_rank(communicator, [&] { return seal_reason(*outcome.header); });
  }
  if (!outcome.reason.empty()) outcome.header.reset();
  return outcome;
}

}  // namespace

CheckpointHeader verify_checkpoint(Communicator& communicator, const std::string& name,
                                   const FileOptions& options) {
  const std::string path = communicator.broadcast(followed(name), 0);
  Outcome outcome = examine(communicator, path, options);
  if (outcome.header) return *std::move(outcome.header);
  throw FileError(outcome.reason.find(path) == std::string::npos ? path + ": " + outcome.reason
                                                                 : outcome.reason);
}

FoundCheckpoint find_checkpoint(Communicator& communicator, const std::string& directory,
                                const FileOptions& options) {
  FoundCheckpoint found;
  std::vector<std::int64_t> iterations;
  on_first_rank(communicator, [&] { iterations = list_checkpoints(directory); });
  for (const auto iteration : from_first_rank(communicator, [&] { return iterations; })) {
    const std::string path = checkpoint_path(directory, iteration);
    Outcome outcome = examine(communicator, path, options);
    if (outcome.refused) throw FileError(outcome.reason);
    found.header = std::move(outcome.header);
    if (found.header) return found;
    found.passed_over.push_back({path, outcome.reason});
  }
  if (found.passed_over.empty()) return found;
  std::string message = "none of the checkpoints in " + directory + " can be used:";
  for (const auto& [path, reason] : found.passed_over) message += "\n  " + path + ": " + reason;
  throw FileError(message + "\n  move them away to start over, or give one with --resume");
}

namespace {

std::string group_of(const std::string& name) { return name.substr(0, name.find('/')); }

void check_array(const CheckpointHeader& header, const ArrayView& view, Sharding sharding) {
  const StoredArray* stored = header.find(view.name);
  const std::string other = header.path + " is a checkpoint of another network: ";
  if (stored == nullptr) {
    throw FileError(other + "it has no array '" + view.name + "', which has shape " +
                    shape_text(view.shape) + " here");
  }
  if (stored->shape != view.shape || stored->type != view.type) {
    throw FileError(other + "array '" + view.name + "' is " + to_string(stored->type) +
                    " of shape " + shape_text(stored->shape) + " there and " +
                    to_string(view.type) + " of shape " + shape_text(view.shape) + " here");
  }
  if (sharding == Sharding::same && stored->shards != view.shards) {
    throw FileError(
        header.path + " has " + std::to_string(stored->shards) + " shards and this run has " +
        std::to_string(view.shards) +
        ": give the same number, or branch into a new directory with --resume CHECKPOINT");
  }
}

}  // namespace

void check_arrays(const CheckpointHeader& header, const std::vector<ArrayView>& arrays,
                  Sharding sharding) {
  std::set<std::string> names;
  std::set<std::string> groups;
  for (const auto& view : arrays) {
    check_array(header, view, sharding);
    names.insert(view.name);
    groups.insert(group_of(view.name));
  }
  for (const auto& stored : header.arrays) {
    const std::string group = group_of(stored.name);
    const bool weights = group == "parameters" || group == "average";
    if (!weights || !groups.contains(group) || names.contains(stored.name)) continue;
    throw FileError(header.path + " is a checkpoint of another network: it has an array '" +
                    stored.name + "' of shape " + shape_text(stored.shape) +
                    ", which there is not here");
  }
}

}  // namespace stanley
