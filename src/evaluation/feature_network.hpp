#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "evaluation/feature_input.hpp"
#include "parallel/communicator.hpp"

namespace stanley {

/// A TorchScript network that maps images [n, channels, height, width] to features [n, dimension].
class FeatureNetwork {
 public:
  /// Collective. Rank 0 reads MODULE and MODULE's name with the ending .json. Errors: input_output
  /// where they are missing or none, or where the module isn't the one that the JSON describes (its
  /// digest), or doesn't do what it says; configuration where `protocol` ("public") is for another
  /// network or input. They name the `option` that gives the path ("--features").
  static FeatureNetwork load(const std::string& path, const std::string& protocol,
                             const std::string& option, Communicator& communicator);
  ~FeatureNetwork();
  FeatureNetwork(FeatureNetwork&&) noexcept;

  const std::string& name() const { return name_; }
  /// XXH3 of the weights, by name, in hexadecimal digits: the same whatever wrote the file; of the
  /// file itself where its weights are in its code (a frozen module).
  const std::string& digest() const { return digest_; }
  /// Of both files: changes with the weights, the code and the description.
  const std::string& identity() const { return identity_; }
  std::int64_t dimension() const { return dimension_; }
  const FeatureInput& input() const { return input_; }

  /// Names of the classes that it tells; none where it is no classifier.
  const std::vector<std::string>& classes() const { return classes_; }

  /// Features [n, dimension] float32 of states [n, channels, height, width] with values of `range`.
  /// Any thread; on one thread of LibTorch's, a number doesn't depend on the others of its batch.
  at::Tensor features(const at::Tensor& states, const std::array<double, 2>& range) const;
  /// Logits [n, classes] float32 of features [n, dimension] of any type; only of a classifier.
  at::Tensor logits(const at::Tensor& features) const;

 private:
  FeatureNetwork();
  void read(const std::string& bytes, const std::string& description);
  void check_protocol(const std::string& protocol, const std::string& option) const;
  at::Tensor forward(const at::Tensor& images) const;

  struct Module;
  std::string name_, digest_, identity_, path_;
  FeatureInput input_;
  std::vector<std::string> classes_;
  std::int64_t dimension_ = 0;
  std::unique_ptr<Module> module_;
};

}  // namespace stanley
