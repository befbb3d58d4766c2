#pragma once

#include <chrono>

namespace stanley {

/// Waits until all that was written to the pipe `descriptor` has been read, for `limit` at most.
/// Returns at once where it is no pipe.
void wait_until_read(int descriptor, std::chrono::milliseconds limit);

}  // namespace stanley
