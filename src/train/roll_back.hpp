#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "parallel/communicator.hpp"
#include "storage/checkpoint.hpp"
#include "train/guard.hpp"

namespace stanley {

/// The iterations to which a run that diverges may go back: its first, and multiples of a period,
/// itself a multiple of checkpoint.every that is at least a probation long, so that neither a
/// resume nor a signal's extra checkpoint changes the targets.
struct RollbackTargets {
  std::int64_t base = 0;       ///< the first iteration of the run's directory
  std::int64_t every = 0;      ///< checkpoint.every; 0: the first iteration is the only target
  std::int64_t probation = 0;  ///< guard.probation

  std::int64_t period() const { return every == 0 ? 0 : (probation + every - 1) / every * every; }

  /// The newest target that has passed its probation at `now`.
  std::int64_t newest(std::int64_t now) const {
    return every == 0 ? base : std::max(base, (now - probation) / period() * period());
  }

  /// Iterations whose checkpoints a run which is at `now` may go back to, now or later.
  std::set<std::int64_t> from(std::int64_t now) const {
    std::set<std::int64_t> targets{base, newest(now)};
    if (every == 0) return targets;
    for (std::int64_t at = now / period() * period(); at > newest(now); at -= period()) {
      targets.insert(at);
    }
    return targets;
  }
};

/// Collective. The newest checkpoint that a run which diverged at `now` may go back to and that
/// verifies. Errors: diverged, with each one's reason, where there is none.
CheckpointHeader find_target(Communicator& world, const std::string& directory,
                             const RollbackTargets& targets, std::int64_t now,
                             const FileOptions& options);

/// Collective. What the first rank that saw a divergence saw. The ranks' records are the same, but
/// norms may differ in the last bit where processors do.
Divergence first_seen(Communicator& world, const std::optional<Divergence>& mine);

}  // namespace stanley
