#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "parallel/communicator.hpp"

namespace stanley {

/// How states become the input of a feature network: what the JSON file beside it says. Values of
/// the data's range are clipped to it, mapped to `range`, one channel repeated where the network
/// wants more, resized bilinearly (without corners aligned and without smoothing), and normalised
/// by channel.
struct FeatureInput {
  std::int64_t channels = 3, height = 0, width = 0;
  std::array<double, 2> range{0, 1};
  std::vector<double> mean, deviation;  ///< of each channel
};

/// A TorchScript network that maps images [n, channels, height, width] to features [n, dimension].
class FeatureNetwork {
 public:
  /// Collective. Rank 0 reads MODULE and MODULE's name with the ending .json. Errors: input_output
  /// where they are missing or none, or where the module isn't the one that the JSON describes (its
  /// digest); configuration where `protocol` ("public") is for another network.
  static FeatureNetwork load(const std::string& path, const std::string& protocol,
                             Communicator& communicator);
  ~FeatureNetwork();
  FeatureNetwork(FeatureNetwork&&) noexcept;

  const std::string& name() const { return name_; }
  /// XXH3 of the weights, by name, in hexadecimal digits: the same whatever wrote the file.
  const std::string& digest() const { return digest_; }
  std::int64_t dimension() const { return dimension_; }
  const FeatureInput& input() const { return input_; }

  /// Features [n, dimension] float32 of states [n, channels, height, width] with values of `range`.
  /// Any thread; on one thread of LibTorch's, a number doesn't depend on the others of its batch.
  at::Tensor features(const at::Tensor& states, const std::array<double, 2>& range) const;

 private:
  FeatureNetwork();

  struct Module;
  std::string name_, digest_, path_;
  FeatureInput input_;
  std::int64_t dimension_ = 0;
  std::unique_ptr<Module> module_;
};

}  // namespace stanley
