#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

namespace stanley {

/// Numbers that were made of a data file before, in a folder beside it: DATA.features/. The name of
/// a file there is the digest of all that its numbers depend on, and what they are.
class FeatureCache {
 public:
  /// `depends_on`: the data's and the network's digests, which images, the arithmetic. `kind`, with
  /// a dot before it, ends the name; empty: features.
  FeatureCache(const std::string& data, const std::string& depends_on, const std::string& kind);

  const std::string& path() const { return path_; }
  /// One rank. Numbers of this shape and type; none where the file isn't there, or isn't whole.
  std::optional<at::Tensor> read(at::IntArrayRef shape, at::ScalarType type) const;
  /// One rank. Errors: input_output.
  void write(const at::Tensor& numbers) const;

 private:
  std::string path_;
};

}  // namespace stanley
