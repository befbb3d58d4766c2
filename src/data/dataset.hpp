#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "config/config.hpp"
#include "parallel/communicator.hpp"

namespace stanley {

/// All samples of one split, in memory on each rank.
class Dataset {
 public:
  /// Collective. Rank 0 reads and checks the file that the configuration names, the others get its
  /// bytes; a synthetic data set is computed from `seed`. Errors: input_output (missing, truncated,
  /// another shape, values out of range or not numbers), on all ranks; configuration where
  /// data.size doesn't fit the images. `progressed` is told now and then while the file is read.
  static Dataset load(const DataConfig& config, std::uint32_t seed, Communicator& communicator,
                      const std::function<void()>& progressed = {});

  std::int64_t size() const { return size_; }
  /// {channel, height, width} or {dimension}.
  const std::vector<std::int64_t>& shape() const { return shape_; }
  /// Elements of one sample.
  std::int64_t dimension() const { return dimension_; }

  /// XXH3 (64 bits, hexadecimal) of shape, values, labels and value range as the file has them;
  /// empty for data that are computed.
  const std::string& file_digest() const { return file_digest_; }
  /// Of the samples as they are here: the same unless data.size reduces them.
  const std::string& digest() const { return digest_; }

  /// Standard deviation over (the first few thousand) samples, root mean square over elements.
  double spread() const;
  /// Share of the elements of those samples that lie on the faces of a box, or outside.
  double share_outside(const std::array<double, 2>& box) const;

  /// Empty where there are none.
  std::span<const std::int64_t> labels() const { return labels_; }

  /// Of the classes that labels count; empty where the file names none.
  const std::vector<std::string>& class_names() const { return class_names_; }

  /// Writes sample `index` to out [dimension], in logical element order, scaled to `data.range`.
  void copy_sample(std::int64_t index, float* out) const;

 private:
  static Dataset synthetic(const DataConfig& config, std::uint32_t seed,
                           const std::function<void()>& progressed);
  static Dataset from_file(const DataConfig& config, Communicator& communicator,
                           const std::function<void()>& progressed);
  void set_shape(const std::vector<std::int64_t>& extents);
  /// Values from `lowest` to `highest` are scaled to `range`.
  void scale_from(double lowest, double highest, const std::array<double, 2>& range);

  std::int64_t size_ = 0, dimension_ = 0;
  std::vector<std::int64_t> shape_;
  std::variant<std::vector<std::uint8_t>, std::vector<float>> values_;
  std::vector<std::int64_t> labels_;
  std::vector<std::string> class_names_;
  std::string file_digest_, digest_;
  float scale_ = 1, offset_ = 0;  // from stored values to data.range
};

}  // namespace stanley
