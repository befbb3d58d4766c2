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

/// Whether the name of a protocol means an input, or a network too: "public", "clean-fid", ...
bool is_pinned(const std::string& protocol);

/// A TorchScript network that maps images [n, channels, height, width] to features [n, dimension].
class FeatureNetwork {
 public:
  /// Collective. Rank 0 reads MODULE and MODULE's name with the ending .json. Errors: input_output
  /// where they are missing or none, or where the module isn't the one that the JSON describes (its
  /// digest), doesn't do what it says, or makes of an image now this and then that; configuration
  /// where `protocol` ("public") is for another network or input. They name the `option` that gives
  /// the path ("--features").
  static FeatureNetwork load(const std::string& path, const std::string& protocol,
                             const std::string& option, Communicator& communicator);
  ~FeatureNetwork();
  FeatureNetwork(FeatureNetwork&&) noexcept;

  const std::string& name() const { return name_; }
  /// XXH3 of the weights, by name, in hexadecimal digits: the same whatever wrote the file; of the
  /// file itself where its weights are in its code (a frozen module).
  const std::string& digest() const { return digest_; }
  /// XXH3 of all that computes in the module's file (code, constants, attributes, weights), by
  /// name, in hexadecimal digits: without times, places in source files and the inputs of a trace.
  const std::string& code_digest() const { return code_digest_; }
  /// Whether it is what the protocol `public` takes, weights, code and input.
  bool is_public() const;
  /// Of both files: changes with the weights, the code and the description.
  const std::string& identity() const { return identity_; }
  std::int64_t dimension() const { return dimension_; }
  const FeatureInput& input() const { return input_; }

  /// Names of the classes that it tells; none where it is no classifier.
  const std::vector<std::string>& classes() const { return classes_; }

  /// Features [n, dimension] float32 of states [n, channels, height, width] with values of `range`.
  /// Any thread; on one thread of LibTorch's, a number doesn't depend on the others of its batch.
  /// Throws Error(input_output) where the module can't take these.
  at::Tensor features(const at::Tensor& states, const std::array<double, 2>& range) const;
  /// Logits [n, classes] float32 of features [n, dimension] of any type; only of a classifier.
  at::Tensor logits(const at::Tensor& features) const;

 private:
  FeatureNetwork();
  void read(const std::string& bytes, const std::string& description);
  void try_out() const;
  void check_protocol(const std::string& protocol, const std::string& option) const;
  at::Tensor forward(const at::Tensor& images) const;
  at::Tensor forward_logits(const at::Tensor& features) const;

  struct Module;
  std::string name_, digest_, code_digest_, identity_, path_;
  FeatureInput input_;
  std::vector<std::string> classes_;
  std::int64_t dimension_ = 0;
  std::unique_ptr<Module> module_;
};

}  // namespace stanley
