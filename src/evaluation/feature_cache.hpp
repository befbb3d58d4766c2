#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

namespace stanley {

/// Features of a data file that were computed before, in a folder beside it: DATA.features/. The
/// name of a file there is the digest of all that its numbers depend on.
class FeatureCache {
 public:
  /// `depends_on`: the data's and the network's digests, which images, the arithmetic.
  FeatureCache(const std::string& data, const std::string& depends_on);

  const std::string& path() const { return path_; }
  /// One rank. Features [count, dimension] float64; none where the file isn't there, or isn't
  /// whole.
  std::optional<at::Tensor> read(std::int64_t count, std::int64_t dimension) const;
  /// One rank. Features that are float32 numbers. Errors: input_output.
  void write(const at::Tensor& features) const;

 private:
  std::string path_;
};

}  // namespace stanley
