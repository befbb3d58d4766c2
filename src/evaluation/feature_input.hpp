#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

namespace stanley {

/// How states become the input of a feature network: clipped to the range of their data, mapped to
/// `range`, one channel repeated where the network wants more, resized bilinearly (without corners
/// aligned and without smoothing), and normalised by channel.
struct FeatureInput {
  std::int64_t channels = 3, height = 0, width = 0;
  std::array<double, 2> range{0, 1};
  std::vector<double> mean, deviation;  ///< of each channel

  bool operator==(const FeatureInput&) const = default;
};

void to_json(nlohmann::ordered_json& json, const FeatureInput& input);
/// Throws Error(input_output) or a JSON library's exception where it isn't one that can be
/// computed.
FeatureInput feature_input_of(const nlohmann::json& json);

}  // namespace stanley
