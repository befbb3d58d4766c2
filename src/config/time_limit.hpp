#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace stanley {

/// When a run that began at `start` must end, from run.until: a local time
/// `YYYY-MM-DDTHH:MM:SS`, or a duration from the start such as `90s`, `3h30m` or `2d12h` (days,
/// hours, minutes and seconds in this order, not all zero). None if the text is neither.
std::optional<std::chrono::system_clock::time_point> end_time(
    const std::string& until, std::chrono::system_clock::time_point start);

}  // namespace stanley
