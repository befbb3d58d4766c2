#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "storage/array.hpp"
#include "storage/commit.hpp"
#include "storage/inspection.hpp"

namespace stanley {

namespace hdf5 {
class File;
}

/// A data file: images uint8 (sample, channel, height, width) in one group for each split, made by
/// tools/convert_images.py; or floats of that shape or (sample, dimension), of any other source,
/// which must say their range (attribute value_range at the root).
/// Nothing here is collective or needs MPI. Every failure is Error(input_output) that names the
/// file.
class DataFile {
 public:
  /// Opens it and checks that it is one, after its seal, where it has one.
  static DataFile open_checked(const std::string& path);
  /// The same without a look at the seal.
  explicit DataFile(const std::string& path);

  /// "1.0"
  const std::string& schema_version() const { return schema_version_; }
  /// "train", "test", ...
  const std::vector<std::string>& splits() const { return splits_; }
  /// None if the file names none.
  const std::vector<std::string>& class_names() const { return class_names_; }
  /// Of the values of a pixel: 0 and 255.
  double lowest() const { return lowest_; }
  double highest() const { return highest_; }
  /// Where the images come from.
  const std::string& provenance() const { return provenance_; }

  /// (sample, channel, height, width) or (sample, dimension) of a split's images.
  std::vector<std::int64_t> shape(const std::string& split) const;
  /// uint8, or float32 for floats of any size, which are read as such.
  ElementType type(const std::string& split) const;
  bool has_labels(const std::string& split) const;
  /// An array ("train/labels") as it stands in the file, for a person to read.
  InspectedArray stored(const std::string& array) const;

  /// Reads all uint8 images of a split, and checks them against the checksum if the file has one.
  std::vector<std::uint8_t> read_all_images(const std::string& split,
                                            const Progressed& progressed = {}) const;
  /// Reads all float32 samples of a split. All must be numbers from lowest() to highest().
  std::vector<float> read_all_floats(const std::string& split,
                                     const Progressed& progressed = {}) const;
  bool has_checksum(const std::string& split) const;
  /// The class of each sample, integers of any type; each is a class that has a name, where there
  /// are names.
  std::vector<std::int64_t> read_labels(const std::string& split) const;

  /// Reads all images, or labels, of a split, a few MiB at a time, and makes the checks that
  /// reading them makes; calls `progressed` before each piece.
  void verify_images(const std::string& split, const Progressed& progressed) const;
  void verify_labels(const std::string& split, const Progressed& progressed) const;

 private:
  void check_split(const std::string& split) const;
  void check_checksum(const std::string& split, std::uint64_t digest) const;
  void check_range(const std::string& split, std::span<const std::uint8_t> images) const;
  void check_numbers(const std::string& split, std::span<const float> values,
                     std::size_t first) const;
  void check_labels_fit(const std::string& split) const;
  void check_labels(const std::string& split, std::span<const std::int64_t> labels) const;

  std::string path_;
  std::shared_ptr<const hdf5::File> file_;
  std::string schema_version_;
  std::vector<std::string> splits_;
  std::vector<std::string> class_names_;
  double lowest_{0};
  double highest_{255};
  std::string provenance_;
};

}  // namespace stanley
