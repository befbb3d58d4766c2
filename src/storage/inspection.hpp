#pragma once

#include <string>

#include "parallel/communicator.hpp"
#include "storage/file_report.hpp"

namespace stanley {

/// Collective. Reads all of a checkpoint, draw file or data file and checks it: every array of a
/// checkpoint against its digests (shards dealt over the ranks), every chunk of a draw file against
/// its checksum, images against theirs. Holds one block of the file in memory. Rank 0's report is
/// complete. What is wrong with the file, even that it isn't there, is in the report and is not
/// thrown. Only reads, and never opens the file of a writer at work.
FileReport inspect_file(Communicator& communicator, const std::string& path);

}  // namespace stanley
