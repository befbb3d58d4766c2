#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "storage/hdf5.hpp"

namespace stanley::hdf5 {

/// Gives arrays named dimensions (HDF5 dimension scales), as netCDF readers want them. For the rank
/// that makes a file's schema.
class Scales {
 public:
  explicit Scales(const File& file) : file_(file) {}

  /// Names the dimensions of an array after coordinates in its own group, which are made, int64 and
  /// counting from 0, where they aren't there yet.
  void attach(const Dataset& dataset, const std::vector<std::string>& names);
  /// Makes a coordinate ("posterior/draw") with these values; attach() then finds it.
  void add(const std::string& path, const std::vector<std::int64_t>& values);
  /// Names the dimensions of an array by their sizes ("size_16"), in the root group, where every
  /// array of the file can share them.
  void attach_sizes(const Dataset& dataset);

 private:
  const Dataset& size_scale(std::int64_t size, int occurrence);

  const File& file_;
  std::map<std::string, Dataset> coordinates_;
};

}  // namespace stanley::hdf5
