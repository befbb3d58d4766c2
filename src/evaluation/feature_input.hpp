#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace stanley {

/// How images get another size; none aligns corners. Published distances differ by it (Parmar et
/// al., arXiv 2104.11222).
enum class Resize {
  bilinear,              ///< without smoothing, as PyTorch
  bilinear_antialias,    ///< with the support that a smaller size asks for, as Pillow
  bicubic_antialias,     ///< the same, as Pillow and clean-fid (a = −½)
  bilinear_tensorflow1,  ///< as the graph of the Inception network of 2015: pixel i at i·scale
};

std::string to_string(Resize resize);

/// How states become the input of a feature network: clipped to the range of their data, rounded to
/// one of 256 levels where the convention takes files of 8 bits, mapped to `range`, one channel
/// repeated where the network wants more, resized (what a cubic rule brings outside of `range` is
/// clipped), and normalised by channel.
struct FeatureInput {
  std::int64_t channels = 3, height = 0, width = 0;
  std::array<double, 2> range{0, 1};
  std::vector<double> mean, deviation;  ///< of each channel
  Resize resize = Resize::bilinear;
  bool eight_bits = false;

  bool operator==(const FeatureInput&) const = default;
};

/// Throws Error(input_output) where an object of a description has a key that is none of these: one
/// that is written otherwise would be left out in silence.
void require_known_keys(const nlohmann::json& object, std::initializer_list<const char*> known);

/// A whole number of a description. Throws Error(input_output) where it is none from `least` to
/// `most`.
std::int64_t whole_number(const nlohmann::json& object, const char* key, std::int64_t least,
                          std::int64_t most);

void to_json(nlohmann::ordered_json& json, const FeatureInput& input);
/// Throws Error(input_output) or a JSON library's exception where it isn't one that can be
/// computed.
FeatureInput feature_input_of(const nlohmann::json& json);

}  // namespace stanley
