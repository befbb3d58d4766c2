#pragma once

#include <string>
#include <utility>

#include "config/error.hpp"
#include "storage/checkpoint.hpp"
#include "storage/commit.hpp"
#include "storage/hdf5.hpp"
#include "storage/inspection.hpp"

// The steps of an inspection: one for each kind of file.

namespace stanley {

/// A message that begins with the file's name, without it: the report says the name once.
std::string without_path(std::string message, const std::string& path);

/// Runs `step`; what it throws becomes a problem of the file.
template <typename Step>
void noting_problems(FileReport& report, const Step& step) {
  try {
    step();
  } catch (const std::exception& exception) {
    report.problems.push_back(without_path(as_error(exception).what(), report.path));
  }
}

/// Reports an array, as a damaged one if `step`, which may say more of it, finds a problem.
template <typename Step>
void inspect_array(FileReport& report, InspectedArray array, const Step& step) {
  const std::size_t before = report.problems.size();
  noting_problems(report, [&] { step(array); });
  array.damaged = report.problems.size() > before;
  report.arrays.push_back(std::move(array));
}

/// One rank: what a checkpoint says of itself, whose arrays stay unread. Errors: as
/// read_checkpoint_header(); parts that are missing become problems.
CheckpointHeader describe_checkpoint(FileReport& report);

/// Collective. Every array of a checkpoint against its digests, the shards dealt over the ranks.
void inspect_checkpoint(Communicator& communicator, FileReport& report);

/// One rank: every array of a draw file, against its digest where it has one. `progressed` is
/// called before each piece of an array.
void inspect_draws(FileReport& report, const hdf5::File& file, const Progressed& progressed);

/// One rank: images, labels and values of a data file. As above.
void inspect_data(FileReport& report, const Progressed& progressed);

}  // namespace stanley
