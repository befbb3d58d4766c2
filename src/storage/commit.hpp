#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/error.hpp"
#include "parallel/communicator.hpp"

namespace stanley {

namespace hdf5 {
class File;
}

/// How files are reached and who is told; the same for every file of a run.
struct FileOptions {
  std::string job{"local"};                    ///< ends the name of an unfinished file
  std::map<std::string, std::string> hints{};  ///< for MPI-IO, by the names that it knows
  std::function<void()> before_rename{};  ///< rank 0: throws if the directory isn't ours any more
  std::function<void()> retention{};      ///< rank 0: removes older files, once all is safe
  std::function<void()> progressed{};     ///< on each rank, while arrays are moved
  /// On the rank that fails inside a collective call, just before all ranks are aborted with the
  /// error's code: the others wait there and can't be told otherwise. Default: prints to stderr.
  std::function<void(const Error&)> on_abort{};
};

/// What a file cost.
struct CommitReport {
  std::string path{};
  std::int64_t bytes{0};
  double seconds{0};        ///< in all
  double write_seconds{0};  ///< of these, until all was on the disk; then it is read and verified
};

/// What moves a file's arrays calls it now and then: with each slice that is done.
using Progressed = std::function<void()>;

/// A file to be made by commit().
struct FileRequest {
  std::string path{};     ///< its final name
  std::int64_t bytes{0};  ///< of its arrays, about
  /// Rank 0 alone: groups, arrays, attributes, and the values of what every rank holds alike.
  std::function<void(hdf5::File&)> create{};
  /// Collective; what it throws aborts all ranks.
  std::function<void(hdf5::File&, const Progressed&)> write{};
  /// Collective: reads back; the reason if what this rank wrote isn't what is there. What it throws
  /// aborts all ranks.
  std::function<std::optional<std::string>(hdf5::File&, const Progressed&)> verify{};
  /// Rank 0 alone, if there is something to do: the same for the values that create() wrote.
  std::function<std::optional<std::string>(const hdf5::File&)> verify_created{};
  std::vector<std::string> links{};  ///< symbolic links beside it to move, one after the other
};

/// Collective. The one way in which files come to be (design, "Files"): written under another name
/// by all ranks, closed, read back and verified, and only then renamed, so that a final name always
/// means a complete file. On failure all ranks throw the same Error and nothing is left behind.
CommitReport commit(Communicator& communicator, const FileRequest& request,
                    const FileOptions& options);

/// One rank. Makes the symbolic link `link` beside the file point to it, durably: whoever looks
/// finds the old link or the new one. `job` ends the name that it has until then.
void move_link(const std::string& link, const std::string& path, const std::string& job);

/// Of the HDF5 that was loaded: "1.14.5".
std::string hdf5_version();

/// Runs `step`, in which all ranks call collective functions of files. An Error of one rank alone
/// leaves the others waiting, so it ends them all (FileOptions::on_abort).
void in_collective(Communicator& communicator, const FileOptions& options,
                   const std::function<void()>& step);

}  // namespace stanley
