#include "evaluation/feature_input.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "config/error.hpp"

namespace stanley {
namespace {

constexpr std::int64_t widest = 4096;  // pixels, and channels

void require(bool holds, const char* what) {
  if (!holds) throw FileError(what);
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
  const auto extent = [&](const char* name) {
    const auto value = json.at(name).get<std::int64_t>();
    require(value >= 1 && value <= widest, "channels, height and width lie in 1 to 4096");
    return value;
  };
  input.channels = extent("channels");
  input.height = extent("height");
  input.width = extent("width");
  const auto range = json.at("range").get<std::vector<double>>();
  require(range.size() == 2 && range[0] < range[1], "range is two numbers, the lower one first");
  input.range = {range[0], range[1]};
  input.mean = json.at("mean").get<std::vector<double>>();
  input.deviation = json.at("deviation").get<std::vector<double>>();
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
