#pragma once

#include <cstdint>

#include "run/directory.hpp"

namespace stanley {

/// Rank 0 alone, while no file is being written. Moves what a diverged attempt left behind, the
/// checkpoints and draw files after iteration `target` of attempts before `attempt`, durably to
/// rejected/<attempt>/, newest first, so that no resume can pick one; the link `latest` moves to
/// the newest that stays before. Cut off in the middle, the same call finishes it. A checkpoint
/// that can't be read stays, to be passed over. Errors: input_output.
void reject_files(const RunDirectory& directory, std::int64_t target, std::int64_t attempt);

}  // namespace stanley
