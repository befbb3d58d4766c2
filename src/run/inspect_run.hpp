#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "parallel/communicator.hpp"
#include "run/recorded.hpp"
#include "storage/inspection.hpp"

namespace stanley {

/// A run directory: what its record says, and its files, all read and checked.
struct RunReport {
  std::string path{};
  /// "running", "finished", ...; "cut off" if it should run and nobody does; empty: no record.
  std::string verdict{};
  std::optional<std::int64_t> done{};     ///< iterations recorded
  std::optional<std::int64_t> planned{};  ///< iterations asked for
  std::vector<RunEvent> events{};         ///< in the order of time
  std::vector<FileReport> checkpoints{};  ///< newest first
  std::vector<FileReport> draws{};        ///< newest first
  std::vector<std::string> rejected{};    ///< files that roll-backs moved aside; not read
  std::vector<std::string> unfinished{};  ///< files that a writer is at work on, or left
  /// What is wrong with the directory itself; its files have their own.
  std::vector<std::string> problems{};
};

/// Collective. Reads a run directory, that of a living run too: files that the run removes
/// meanwhile are left out. Rank 0's report is complete. What is wrong is in it, and is not thrown.
RunReport inspect_run(Communicator& communicator, const std::string& path);

}  // namespace stanley
