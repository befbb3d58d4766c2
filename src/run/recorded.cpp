#include "run/recorded.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

namespace stanley {
namespace {

using Json = nlohmann::json;

std::string start_detail(const Json& start) {
  const auto ranks = integer_in(start, "ranks").value_or(1);
  const std::string from = text_in(start, "resumed_from");
  return fmt::format("{} {}{}", ranks, ranks == 1 ? "rank" : "ranks",
                     from.empty() ? "" : ", from " + from);
}

std::string stop_detail(const Json& stop) {
  const std::string message = text_in(stop, "message");
  const std::string asked_by = text_in(stop, "asked_by");
  return !message.empty() || asked_by.empty() ? message : "asked for by " + asked_by;
}

std::string roll_back_detail(const Json& back) {
  return fmt::format("to iteration {} as attempt {}: {}", integer_in(back, "target").value_or(0),
                     integer_in(back, "attempt").value_or(0), text_in(back, "seen"));
}

}  // namespace

Json child_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? Json() : *found;
}

std::optional<std::int64_t> integer_in(const Json& object, const char* key) {
  const Json value = child_of(object, key);
  if (!value.is_number_integer()) return std::nullopt;
  constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > most) return std::nullopt;
  return value.get<std::int64_t>();
}

std::optional<std::int64_t> count_in(const Json& object, const char* key) {
  const auto number = integer_in(object, key);
  return number && *number >= 0 ? number : std::nullopt;
}

std::optional<double> real_in(const Json& object, const char* key) {
  const Json value = child_of(object, key);
  if (!value.is_number()) return std::nullopt;
  return value.get<double>();
}

std::string text_in(const Json& object, const char* key) {
  const Json value = child_of(object, key);
  return value.is_string() ? value.get<std::string>() : "";
}

Json read_record_of(const RunDirectory& directory, std::vector<std::string>& problems) {
  const std::string text = read_text(directory.record());
  Json record = Json::parse(text, nullptr, false);
  if (record.is_object()) return record;
  problems.emplace_back(text.empty() ? "it has no run.json that can be read"
                                     : "its run.json is no JSON object");
  return {};
}

std::vector<RunEvent> events_of(const Json& record) {
  std::vector<RunEvent> events;
  const auto add = [&](const Json& entry, std::string what, std::string detail) {
    events.push_back({text_in(entry, "time"), std::move(what),
                      count_in(entry, "iteration").value_or(0), std::move(detail)});
  };
  for (const Json& start : child_of(record, "starts")) add(start, "start", start_detail(start));
  for (const Json& stop : child_of(record, "stops")) {
    add(stop, text_in(stop, "verdict"), stop_detail(stop));
  }
  for (const Json& back : child_of(record, "rollbacks")) {
    add(back, "roll-back", roll_back_detail(back));
  }
  // A stop and the start after it may fall into the same second.
  std::stable_sort(events.begin(), events.end(), [](const auto& a, const auto& b) {
    return std::pair(a.time, a.iteration) < std::pair(b.time, b.iteration);
  });
  return events;
}

}  // namespace stanley
