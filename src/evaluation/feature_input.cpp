#include "evaluation/feature_input.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "config/error.hpp"

namespace stanley {
namespace {

constexpr std::int64_t widest = 4096;  // pixels, and channels

void require(bool holds, const char* what) {
  if (!holds) throw FileError(what);
}

}  // namespace

void to_json(nlohmann::ordered_json& json, const FeatureInput& input) {
  json = {{"channels", input.channels}, {"height", input.height}, {"width", input.width},
          {"range", input.range},       {"mean", input.mean},     {"deviation", input.deviation}};
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
  return input;
}

}  // namespace stanley
