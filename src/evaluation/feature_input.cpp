#include "evaluation/feature_input.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "config/error.hpp"

namespace stanley {
namespace {

constexpr std::int64_t widest = 4096;  // pixels, and channels

void require(bool holds, const std::string& what) {
  if (!holds) throw FileError(what);
}

std::vector<double> numbers(const nlohmann::json& object, const char* key) {
  const nlohmann::json& list = object.at(key);
  require(
      list.is_array() && std::ranges::all_of(list, [](const auto& one) { return one.is_number(); }),
      fmt::format("{} is a list of numbers", key));
  return list.get<std::vector<double>>();
}

constexpr std::array<std::pair<Resize, const char*>, 4> resize_names{
    {{Resize::bilinear, "bilinear"},
     {Resize::bilinear_antialias, "bilinear_antialias"},
     {Resize::bicubic_antialias, "bicubic_antialias"},
     {Resize::bilinear_tensorflow1, "bilinear_tensorflow1"}}};

Resize resize_of(const std::string& name) {
  for (const auto& [resize, its_name] : resize_names) {
    if (name == its_name) return resize;
  }
  throw FileError(
      "resize is bilinear, bilinear_antialias, bicubic_antialias or bilinear_tensorflow1");
}

}  // namespace

std::string to_string(Resize resize) {
  return std::ranges::find(resize_names, resize, &std::pair<Resize, const char*>::first)->second;
}

void require_known_keys(const nlohmann::json& object, std::initializer_list<const char*> known) {
  require(object.is_object(), "an object was expected");
  for (const auto& [key, value] : object.items()) {
    if (std::ranges::any_of(known, [&](const char* one) { return key == one; })) continue;
    throw FileError(fmt::format("unknown key '{}': expected {}", key, fmt::join(known, ", ")));
  }
}

std::int64_t whole_number(const nlohmann::json& object, const char* key, std::int64_t least,
                          std::int64_t most) {
  const nlohmann::json& value = object.at(key);
  const auto number = value.is_number_integer() ? value.get<std::int64_t>() : least - 1;
  require(least <= number && number <= most,
          fmt::format("{} is {}: expected a whole number from {} to {}", key, value.dump(), least,
                      most));
  return number;
}

void to_json(nlohmann::ordered_json& json, const FeatureInput& input) {
  json = {{"channels", input.channels},
          {"height", input.height},
          {"width", input.width},
          {"range", input.range},
          {"mean", input.mean},
          {"deviation", input.deviation},
          {"resize", to_string(input.resize)},
          {"eight_bits", input.eight_bits}};
}

FeatureInput feature_input_of(const nlohmann::json& json) {
  FeatureInput input;
  require_known_keys(
      json, {"channels", "height", "width", "range", "mean", "deviation", "resize", "eight_bits"});
  input.channels = whole_number(json, "channels", 1, widest);
  input.height = whole_number(json, "height", 1, widest);
  input.width = whole_number(json, "width", 1, widest);
  const std::vector<double> range = numbers(json, "range");
  require(range.size() == 2 && range[0] < range[1], "range is two numbers, the lower one first");
  input.range = {range[0], range[1]};
  input.mean = numbers(json, "mean");
  input.deviation = numbers(json, "deviation");
  const auto channels = static_cast<std::size_t>(input.channels);
  require(input.mean.size() == channels && input.deviation.size() == channels,
          "mean and deviation have a number for each channel");
  require(std::ranges::all_of(input.deviation, [](double one) { return one > 0; }),
          "deviations are above 0");
  input.resize = resize_of(json.value("resize", to_string(Resize::bilinear)));
  input.eight_bits = json.value("eight_bits", false);
  return input;
}

}  // namespace stanley
