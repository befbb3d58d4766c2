#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <variant>

// Values that JSON has no form for of its own: numbers of either kind, and what may be missing
// (null). In CBOR infinities and NaN stay what they are.

namespace nlohmann {

template <>
struct adl_serializer<std::variant<std::int64_t, double>> {
  template <typename Json>
  static void to_json(Json& json, const std::variant<std::int64_t, double>& number) {
    std::visit([&json](auto value) { json = value; }, number);
  }
  template <typename Json>
  static void from_json(const Json& json, std::variant<std::int64_t, double>& number) {
    number = json.template get<double>();
    if (json.is_number_integer()) number = json.template get<std::int64_t>();
  }
};

template <typename Value>
struct adl_serializer<std::optional<Value>> {
  template <typename Json>
  static void to_json(Json& json, const std::optional<Value>& value) {
    json = value ? Json(*value) : Json(nullptr);
  }
  template <typename Json>
  static void from_json(const Json& json, std::optional<Value>& value) {
    if (!json.is_null()) value = json.template get<Value>();
  }
};

}  // namespace nlohmann
