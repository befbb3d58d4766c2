#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "config/config.hpp"
#include "config/document.hpp"
#include "config/keys.hpp"

namespace stanley {
namespace {

using Json = nlohmann::ordered_json;

Json number(const char* type, const Limits& limits) {
  const auto bound = [](double value) {
    return value == std::floor(value) ? Json(static_cast<std::int64_t>(value)) : Json(value);
  };
  Json schema{{"type", type}};
  if (std::isfinite(limits.low)) {
    schema[limits.low_open ? "exclusiveMinimum" : "minimum"] = bound(limits.low);
  }
  if (std::isfinite(limits.high)) {
    schema[limits.high_open ? "exclusiveMaximum" : "maximum"] = bound(limits.high);
  }
  return schema;
}

/// A mapping that has all of these keys and no others.
Json mapping(const Json& properties) {
  Json schema{{"type", "object"}, {"properties", properties}, {"required", Json::array()}};
  for (const auto& property : properties.items()) schema["required"].push_back(property.key());
  schema["additionalProperties"] = false;
  return schema;
}

/// The schema of a key's value, with the default.
struct Shape {
  const Key& key;

  template <typename T>
  requires std::is_arithmetic_v<T> Json operator()(const T* value) const {
    Json schema = std::is_same_v<T, bool>
                      ? Json{{"type", "boolean"}}
                      : number(std::is_integral_v<T> ? "integer" : "number", key.limits);
    schema["default"] = *value;
    return schema;
  }
  Json operator()(const std::string* value) const {
    Json schema{{"type", "string"}, {"default", *value}};
    if (key.limits.form) schema["pattern"] = key.limits.form->pattern;
    return schema;
  }
  Json operator()(const std::array<double, 2>* value) const {
    return {{"type", "array"},
            {"items", number("number", key.limits)},
            {"minItems", 2},
            {"maxItems", 2},
            {"default", *value}};
  }
  Json operator()(const std::vector<std::int64_t>* value) const {
    return {{"type", "array"},
            {"items", number("integer", key.limits)},
            {"minItems", 1},
            {"default", *value}};
  }
  Json operator()(const std::map<std::string, std::string>*) const {
    return {{"type", "object"},
            {"additionalProperties", {{"type", {"string", "number", "boolean"}}}},
            {"default", Json::object()}};
  }
  Json operator()(const RestartSchedule* value) const {
    const Json probability = number("number", key.limits);
    return {{"anyOf", {probability, mapping({{"from", probability}, {"to", probability}})}},
            {"default", value->from}};
  }
  Json operator()(const Threshold* value) const {
    const Json quantile = number("number", {.low = 0, .high = 1, .low_open = true});
    return {{"anyOf", {number("number", key.limits), mapping({{"quantile", quantile}})}},
            {"default", {{"quantile", value->quantile.value()}}}};
  }
  Json operator()(const StartMixture* value) const {
    Json shares{
        {"type", "object"}, {"properties", Json::object()}, {"additionalProperties", false}};
    for (const char* name : names_of(StartType{})) {
      shares["properties"][name] = number("number", key.limits);
    }
    return {{"anyOf", {{{"enum", names_of(StartType{})}}, shares}}, {"default", to_string(*value)}};
  }
  Json operator()(const Denoise*) const {
    return {{"anyOf",
             {{{"type", "null"}},
              mapping({{"steps", number("integer", key.limits)}}),
              mapping({{"fitted", {{"const", true}}}})}},
            {"default", nullptr}};
  }
  Json operator()(const std::vector<StageConfig>*) const {
    StageConfig stage;
    Json one{{"type", "object"},
             {"properties", Json::object()},
             {"required", {"size"}},
             {"additionalProperties", false}};
    for (const Key& of_stage : describe(stage)) {
      Json shape = std::visit(Shape{of_stage}, of_stage.member);
      shape.erase("default");
      shape["description"] = of_stage.meaning;
      one["properties"][of_stage.path] = std::move(shape);
    }
    return {{"type", "array"}, {"items", one}, {"default", Json::array()}};
  }
  Json operator()(const Choice& choice) const {
    return {{"enum", choice.names}, {"default", choice.names.at(choice.read())}};
  }
  template <typename T>
  Json operator()(const std::optional<T>* value) const {
    const T some = value->value_or(T{});
    Json schema = (*this)(&some);
    schema["type"] = {schema["type"], "null"};
    if (!value->has_value()) schema["default"] = nullptr;
    return schema;
  }
};

}  // namespace

std::string configuration_schema() {
  const Json section{
      {"type", "object"}, {"additionalProperties", false}, {"properties", Json::object()}};
  Json root{{"$schema", "http://json-schema.org/draft-07/schema#"},
            {"title", "a configuration of stanley"}};
  root.update(section);
  root["properties"]["base"] = {
      {"type", "string"},
      {"description",
       "File whose keys hold where this one has none; its path is relative to this file."}};
  Config defaults;
  for (const Key& key : describe(defaults)) {
    Json* place = &root;
    for (const std::string& name : split(key.path, '.')) {
      if (place->is_null()) *place = section;
      place = &(*place)["properties"][name];
    }
    *place = {{"description", fmt::format("{}. Takes {}.", key.meaning, expected(key))}};
    place->update(std::visit(Shape{key}, key.member));
  }
  return root.dump(2);
}

}  // namespace stanley
