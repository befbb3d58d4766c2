#pragma once

#include <ctime>

namespace stanley {

/// What a signal asked for (design, "Stop").
struct StopRequest {
  bool stop{false};        ///< checkpoint at the iteration's end and exit 85
  bool checkpoint{false};  ///< checkpoint and go on
};

/// From now on USR1, TERM and INT ask for a stop and USR2 for a checkpoint; CONT does nothing. A
/// second TERM or INT at least 5 s after the first request leaves at once. Call it before MPI_Init:
/// a warning may come seconds after the start. Seconds are those of `clock`.
void catch_signals(std::time_t (*clock)(std::time_t*) = std::time);

/// Lets signals end the process at once again, those too that came since catch_signals(): for
/// commands that write nothing, or whole files only, and don't ask take_request().
void release_signals();

/// What this rank was asked since the last call; `stop` stays. Ranks agree on it themselves.
StopRequest take_request();

}  // namespace stanley
