#pragma once

#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

// What the commands' reports for scripts (--json) have in common.

namespace stanley {

using ReportJson = nlohmann::ordered_json;  // keeps the order of keys

/// Numbers that JSON lacks are the texts "inf", "-inf" and "nan".
inline ReportJson number_json(double number) {
  if (std::isfinite(number)) return number;
  if (std::isnan(number)) return "nan";
  return number > 0 ? "inf" : "-inf";
}
inline ReportJson number_json(std::int64_t number) { return number; }

/// A name or a text of a damaged file need not be UTF-8.
inline std::string dumped(const ReportJson& json) {
  return json.dump(2, ' ', false, ReportJson::error_handler_t::replace);
}

}  // namespace stanley
