#include "config/time_limit.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <iterator>
#include <string_view>
#include <system_error>

namespace stanley {
namespace {

using Clock = std::chrono::system_clock;

/// What the clock, which counts nanoseconds, still holds since 1970, with room: times that are
/// farther away are this one.
constexpr std::chrono::seconds farthest{9'000'000'000};

/// The digits that `text` starts with, taken off it; none without digits or with more than six.
std::optional<std::int64_t> take_number(std::string_view& text) {
  std::uint32_t number = 0;  // without a sign
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const auto digits = static_cast<std::size_t>(end - text.data());
  text.remove_prefix(digits);
  return error == std::errc{} && digits <= 6 ? std::optional<std::int64_t>(number) : std::nullopt;
}

std::optional<std::chrono::seconds> duration(std::string_view text) {
  constexpr std::string_view units = "dhms";
  constexpr std::array<std::int64_t, 4> seconds_per_unit{86400, 3600, 60, 1};
  std::int64_t seconds = 0;
  for (std::size_t next = 0; !text.empty(); ++next) {
    const std::optional<std::int64_t> number = take_number(text);
    if (!number || text.empty()) {
      return std::nullopt;
    }
    next = units.find(text.front(), next);  // each unit once, in this order
    if (next == std::string_view::npos) {
      return std::nullopt;
    }
    text.remove_prefix(1);
    seconds += *number * seconds_per_unit[next];
  }
  return seconds == 0 ? std::nullopt : std::optional(std::chrono::seconds(seconds));
}

std::optional<Clock::time_point> local_time(const std::string& text) {
  constexpr std::ptrdiff_t length = std::string_view("0000-00-00T00:00:00").size();
  std::tm parts{};
  const char* end = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  // It also takes shorter numbers, spaces before them, each month's 31st, and leap seconds.
  const bool whole = end != nullptr && end - text.data() == length && std::ssize(text) == length;
  const std::chrono::year_month_day date{
      std::chrono::year{parts.tm_year + 1900},
      std::chrono::month(static_cast<unsigned>(parts.tm_mon + 1)),
      std::chrono::day(static_cast<unsigned>(parts.tm_mday))};
  if (!whole || text.find(' ') != std::string::npos || !date.ok() || parts.tm_sec > 59) {
    return std::nullopt;
  }
  parts.tm_isdst = -1;  // mktime decides whether summer time holds on that day
  return Clock::time_point(std::min(std::chrono::seconds(std::mktime(&parts)), farthest));
}

}  // namespace

std::optional<Clock::time_point> end_time(const std::string& until, Clock::time_point start) {
  if (const auto length = duration(until)) {
    return start + std::min(*length, std::chrono::floor<std::chrono::seconds>(
                                         Clock::time_point(farthest) - start));
  }
  return local_time(until);
}

}  // namespace stanley
