#include "config/time_limit.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <string_view>

namespace stanley {
namespace {

using Clock = std::chrono::system_clock;

/// What the clock, which counts nanoseconds, still holds since 1970, with room: times that are
/// farther away are this one.
constexpr std::chrono::seconds farthest{9'000'000'000};

/// The digits that `text` starts with, taken off it; none without digits or with more than six.
std::optional<int> take_number(std::string_view& text) {
  int number = 0;
  std::size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') {
    if (digits == 6) {
      return std::nullopt;
    }
    number = 10 * number + (text[digits++] - '0');
  }
  text.remove_prefix(digits);
  return digits == 0 ? std::nullopt : std::optional<int>(number);
}

std::optional<std::chrono::seconds> duration(std::string_view text) {
  constexpr std::string_view units = "dhms";
  constexpr std::array<std::int64_t, 4> seconds_per_unit{86400, 3600, 60, 1};
  std::int64_t seconds = 0;
  for (std::size_t next = 0; !text.empty(); ++next) {
    const std::optional<int> number = take_number(text);
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

std::optional<Clock::time_point> local_time(std::string_view text) {
  constexpr std::string_view form = "0000-00-00T00:00:00";
  if (text.size() != form.size()) {
    return std::nullopt;
  }
  std::array<int, 6> fields{};
  std::size_t field = 0;
  for (std::size_t i = 0; i < form.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (form[i] == '0' ? !digit : text[i] != form[i]) {
      return std::nullopt;
    }
    if (digit) {
      fields[field] = 10 * fields[field] + (text[i] - '0');
    } else {
      ++field;
    }
  }
  const auto [year, month, day, hour, minute, second] = fields;
  const std::chrono::year_month_day date{std::chrono::year{year},
                                         std::chrono::month{static_cast<unsigned>(month)},
                                         std::chrono::day{static_cast<unsigned>(day)}};
  if (!date.ok() || hour > 23 || minute > 59 || second > 59) {
    return std::nullopt;
  }
  std::tm parts{};
  parts.tm_year = year - 1900;
  parts.tm_mon = month - 1;
  parts.tm_mday = day;
  parts.tm_hour = hour;
  parts.tm_min = minute;
  parts.tm_sec = second;
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
