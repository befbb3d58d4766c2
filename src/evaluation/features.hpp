#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.hpp"
#include "evaluation/feature_network.hpp"
#include "evaluation/row_blocks.hpp"
#include "parallel/communicator.hpp"
#include "run/log.hpp"

namespace stanley {

class FeatureCache;

/// Which features are wanted, and by whom.
struct FeatureRequest {
  std::string path;      ///< a network's module, or "states": then states are their own features
  std::string protocol;  ///< as FeatureNetwork::load() takes it
  std::string option;    ///< that gives the path, for errors: "--features"
  std::string owner;     ///< file of the states, for errors
};

/// States whose features are wanted.
struct StateRows {
  std::int64_t count = 0;
  /// Writes states first … first + count − 1 one after the other; several threads call it.
  std::function<void(std::int64_t first, std::int64_t count, float* out)> read;
  /// Begins an error where a number isn't finite, "features of FILE"; empty: it is taken as it is.
  std::string refuse_as{};
};

/// Images that others are compared with: the first of a data set, or a part of them.
struct ReferenceImages {
  const Dataset& images;
  std::string data, split;  ///< where they come from: a file or the name of a law; its split
  std::int64_t count = 0;
  std::int64_t first = 0;  ///< number of the first one
};

/// Numbers that follow from the features of reference images alone.
struct KeptNumbers {
  const char* what;  ///< for the log: "features"
  std::string kind;  ///< as FeatureCache takes it, with all that they depend on beside the features
  std::vector<std::int64_t> shape;
  at::ScalarType type;
};

/// What makes features of states: a network, or nothing where states are their own.
class Features {
 public:
  /// Collective. For states of `shape` with values of `range`; points are always their own
  /// features. Errors: as FeatureNetwork::load(); configuration where the network takes other
  /// channels.
  static Features load(const FeatureRequest& request, const std::vector<std::int64_t>& shape,
                       const std::array<double, 2>& range, Communicator& communicator);

  /// None where states are their own features.
  const FeatureNetwork* network() const { return network_ ? &*network_ : nullptr; }
  std::int64_t dimension() const;

  /// Collective. Features [count, dimension] float64, the same on all ranks, which share the work:
  /// no bit of them depends on ranks or threads. Errors: input_output.
  at::Tensor of(const StateRows& rows, Communicator& communicator, const RowsDone& done = {}) const;

  /// Collective. Those that were computed before, or computed now and kept beside the data file.
  at::Tensor of_reference(const ReferenceImages& reference, Communicator& communicator, Log& log,
                          const RowsDone& done = {}) const;

  /// Collective. Numbers of the reference that were made before, or made now, the same on all
  /// ranks, and kept beside the data file. Where states are their own features nothing is kept.
  at::Tensor known_or_made(const ReferenceImages& reference, const KeptNumbers& wanted,
                           Communicator& communicator, Log& log,
                           const std::function<at::Tensor()>& make) const;

 private:
  Features(const std::vector<std::int64_t>& shape, const std::array<double, 2>& range)
      : shape_(shape), range_(range) {}
  at::Tensor of_block(const StateRows& rows, const RowBlock& block) const;
  at::Tensor as_features(const at::Tensor& states) const;
  FeatureCache cache_of(const ReferenceImages& reference, const std::string& kind,
                        Communicator& communicator) const;

  std::vector<std::int64_t> shape_;
  std::array<double, 2> range_;
  std::optional<FeatureNetwork> network_;
};

}  // namespace stanley
