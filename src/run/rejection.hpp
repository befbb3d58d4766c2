#pragma once

#include <cstdint>
#include <optional>

#include "run/directory.hpp"

namespace stanley {

/// Rank 0 alone, while no file is being written. Makes the link `best` point to the checkpoint of
/// this iteration; without one there is no link. Errors: input_output.
void point_best_at(std::optional<std::int64_t> iteration, const RunDirectory& directory);

/// Rank 0 alone, while no file is being written. Moves what a diverged attempt left behind, the
/// checkpoints and draw files after iteration `target` of attempts before `attempt`, durably to
/// rejected/<attempt>/, newest first, so that no resume can pick one; before, the link `latest`
/// moves to the newest that stays, and `best` to the best that this one knows of. Cut off in the
/// middle, the same call finishes it. A checkpoint that can't be read stays, to be passed over.
/// Errors: input_output.
void reject_files(const RunDirectory& directory, std::int64_t target, std::int64_t attempt);

}  // namespace stanley
