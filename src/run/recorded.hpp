#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "run/directory.hpp"

namespace stanley {

// What a run.json says, read beside a living run and of any release: what isn't there is left out.

/// A start or a stop of a run, as run.json has it.
struct RunEvent {
  std::string time{};  ///< "2026-11-23T14:05:09Z"
  std::string what{};  ///< "start", "roll-back", or the verdict of a stop: "finished", ...
  std::int64_t iteration{0};
  /// Ranks and checkpoint of a start, what was seen; of a stop its message, or who asked for it.
  std::string detail{};
};

/// The values of an object's keys; nothing where there is none of that kind.
std::optional<std::int64_t> integer_in(const nlohmann::json& object, const char* key);
/// From 0 on.
std::optional<std::int64_t> count_in(const nlohmann::json& object, const char* key);
std::optional<double> real_in(const nlohmann::json& object, const char* key);
std::string text_in(const nlohmann::json& object, const char* key);
/// null where there is none.
nlohmann::json child_of(const nlohmann::json& object, const char* key);

/// The run's record; null, with a problem more, if there is none.
nlohmann::json read_record_of(const RunDirectory& directory, std::vector<std::string>& problems);

/// Starts, stops and roll-backs in the order of time.
std::vector<RunEvent> events_of(const nlohmann::json& record);

}  // namespace stanley
