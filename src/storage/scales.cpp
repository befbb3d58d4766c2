#include "storage/scales.hpp"

#include <fmt/format.h>
#include <hdf5_hl.h>

#include <numeric>

#include "config/error.hpp"

namespace stanley::hdf5 {
namespace {

void attach_one(const Dataset& dataset, const Dataset& scale, std::size_t index) {
  check(H5DSattach_scale(dataset.id(), scale.id(), static_cast<unsigned>(index)),
        [&] { return "attach dimension '" + scale.name() + "' to " + dataset.described(); });
}

}  // namespace

void Scales::add(const std::string& path, const std::vector<std::int64_t>& values) {
  Dataset scale =
      make_dataset(file_, path, ElementType::int64, {static_cast<std::int64_t>(values.size())});
  if (!values.empty()) scale.write_all(values.data());
  const std::string name = path.substr(path.rfind('/') + 1);
  check(H5DSset_scale(scale.id(), name.c_str()), [&] { return "create dimension '" + path + "'"; });
  coordinates_.emplace(path, std::move(scale));
}

void Scales::attach(const Dataset& dataset, const std::vector<std::string>& names) {
  if (names.size() != dataset.shape().size()) {
    throw Error(ExitCode::bug, fmt::format("array '{}' has {} dimensions and {} names for them",
                                           dataset.name(), dataset.shape().size(), names.size()));
  }
  const std::string group = dataset.name().substr(0, dataset.name().rfind('/') + 1);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::string path = group + names[i];
    if (!coordinates_.contains(path)) {
      std::vector<std::int64_t> values(static_cast<std::size_t>(dataset.shape()[i]));
      std::iota(values.begin(), values.end(), 0);
      add(path, values);
    }
    attach_one(dataset, coordinates_.at(path), i);
  }
}

const Dataset& Scales::size_scale(std::int64_t size, int occurrence) {
  std::string name = "size_" + std::to_string(size);
  if (occurrence > 0) name += "_" + std::to_string(occurrence + 1);
  if (const auto found = coordinates_.find(name); found != coordinates_.end()) return found->second;
  const auto describe = [&] { return "create dimension '" + name + "'"; };
  // A name without values, by netCDF's convention; its array is never written and takes no space.
  const std::string label =
      fmt::format("This is a netCDF dimension but not a netCDF variable.{:>10}", size);
  const auto extent = static_cast<hsize_t>(size);
  const Handle space(check(H5Screate_simple(1, &extent, nullptr), describe), H5Sclose);
  Handle dataset(check(H5Dcreate2(file_.id(), name.c_str(), H5T_IEEE_F32BE, space.id(), H5P_DEFAULT,
                                  H5P_DEFAULT, H5P_DEFAULT),
                       describe),
                 H5Dclose);
  check(H5DSset_scale(dataset.id(), label.c_str()), describe);
  return coordinates_.emplace(name, Dataset(std::move(dataset), file_, name)).first->second;
}

void Scales::attach_sizes(const Dataset& dataset) {
  std::map<std::int64_t, int> seen;
  for (std::size_t i = 0; i < dataset.shape().size(); ++i) {
    // One array can't have the same dimension twice: the second of a size has a name of its own.
    attach_one(dataset, size_scale(dataset.shape()[i], seen[dataset.shape()[i]]++), i);
  }
}

}  // namespace stanley::hdf5
