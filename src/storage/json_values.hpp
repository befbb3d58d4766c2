#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>

#include "parallel/communicator.hpp"

// Values that JSON has no form for of its own: numbers of either kind, and what may be missing
// (null).

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

namespace stanley {

// A value as bytes, and back: it crosses from one rank or process to another. CBOR keeps
// infinities, NaN and texts that aren't UTF-8.

template <typename Value>
std::string to_bytes(const Value& value) {
  const auto bytes = nlohmann::json::to_cbor(value);
  return {bytes.begin(), bytes.end()};
}

template <typename Value>
Value from_bytes(const std::string& bytes) {
  return nlohmann::json::from_cbor(bytes).get<Value>();
}

/// Collective. What rank 0 makes, on all ranks.
template <typename Make>
auto from_first_rank(Communicator& communicator, const Make& make) {
  const std::string made = communicator.rank() == 0 ? to_bytes(make()) : std::string();
  return from_bytes<decltype(make())>(communicator.broadcast(made, 0));
}

}  // namespace stanley
