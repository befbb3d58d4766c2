#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>

namespace stanley {

/// Named numbers of either kind, as JSON and back; in CBOR infinities and NaN stay what they are.
inline nlohmann::json numbers_json(
    const std::map<std::string, std::variant<std::int64_t, double>>& numbers) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [name, value] : numbers) {
    std::visit([&, &name = name](auto number) { json[name] = number; }, value);
  }
  return json;
}

inline std::map<std::string, std::variant<std::int64_t, double>> numbers_from(
    const nlohmann::json& json) {
  std::map<std::string, std::variant<std::int64_t, double>> numbers;
  for (const auto& [name, value] : json.items()) {
    if (value.is_number_integer()) {
      numbers[name] = value.get<std::int64_t>();
    } else {
      numbers[name] = value.get<double>();
    }
  }
  return numbers;
}

}  // namespace stanley
