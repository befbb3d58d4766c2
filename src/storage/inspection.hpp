#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "parallel/communicator.hpp"

namespace stanley {

enum class FileKind {
  checkpoint,
  draws,
  data,
  unfinished,  ///< NAME.part...: a writer is at work on it, or was cut off; it is not opened
  unknown      ///< not there, not readable, or none of ours
};

const char* to_string(FileKind kind);

/// An array of a file that was read.
struct InspectedArray {
  std::string name{};
  std::string type{};  ///< "float32"
  std::vector<std::int64_t> shape{};
  std::int64_t shards{0};  ///< of a checkpoint; 0: replicated
  bool damaged{false};
};

/// What a file says of itself, and whether that is to be trusted.
struct FileReport {
  std::string path{};
  FileKind kind{FileKind::unknown};
  std::int64_t bytes{0};  ///< of the file
  std::string schema_version{};
  std::optional<std::int64_t> iteration{};
  std::optional<std::int64_t> world_size{};  ///< ranks that wrote it
  /// Progress of a checkpoint, numbers of a draw file, range of a data file.
  std::map<std::string, std::variant<std::int64_t, double>> numbers{};
  std::map<std::string, std::string> texts{};  ///< config, versions, provenance, ...
  std::vector<InspectedArray> arrays{};
  /// What is wrong with it, each a sentence's worth without the path; none: complete and verified.
  std::vector<std::string> problems{};
  /// What can't be told of it, in the same words: arrays without a digest, say.
  std::vector<std::string> notes{};
  bool crashed{false};  ///< HDF5 could not read it without ending the process that tried

  bool verified() const { return problems.empty(); }
};

/// Collective. Reads all of a checkpoint, draw file or data file and checks it: every array of a
/// checkpoint against its digests (shards dealt over the ranks), every chunk of a draw file against
/// its checksum, images against theirs. Holds one block of the file in memory. Rank 0's report is
/// complete. What is wrong with the file, even that it isn't there, is in the report and is not
/// thrown. Only reads, and never opens the file of a writer at work.
FileReport inspect_file(Communicator& communicator, const std::string& path);

/// One rank. As inspect_file(), of what a checkpoint says about itself alone: its seal and header
/// are checked, its arrays stay unread, so that it takes no longer for a large one.
FileReport inspect_checkpoint_header(const std::string& path);

}  // namespace stanley
