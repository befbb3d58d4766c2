#include "storage/data_file.hpp"

#include <fmt/ranges.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>

#include "config/error.hpp"
#include "storage/blocks.hpp"
#include "storage/child.hpp"
#include "storage/hdf5.hpp"
#include "storage/seal.hpp"

namespace stanley {
namespace {

[[noreturn]] void refuse(const std::string& reason) {
  // Names of splits and versions are the file's own words.
  throw FileError(printable(reason));
}

/// What verify() reads at a time.
constexpr std::size_t read_at_once = std::size_t{4} << 20;

std::string images_name(const std::string& split) { return split + "/images"; }
std::string labels_name(const std::string& split) { return split + "/labels"; }

/// Calls `step` with all values of an array, a few MiB at a time, and the place of the first;
/// `progressed` before each piece. Read as `type`, block by block in the array's order, so that
/// their digest is that of the whole.
template <typename Value>
void for_each_piece(const hdf5::Dataset& dataset, hid_t type, const Progressed& progressed,
                    const std::function<void(std::span<const Value>, std::size_t)>& step) {
  std::vector<Value> values;
  std::size_t place = 0;
  const auto block = hdf5::block_shape(dataset.shape(), sizeof(Value), read_at_once);
  hdf5::for_each_block(dataset.shape(), block, [&](const hdf5::Block& part) {
    if (progressed) progressed();
    values.resize(part.elements());
    hdf5::read_block(dataset, part, type, values.data());
    step(values, place);
    place += values.size();
  });
}

/// All values of an array, read as above.
template <typename Value>
std::vector<Value> read_all(const hdf5::Dataset& dataset, hid_t type,
                            const Progressed& progressed) {
  std::vector<Value> all(static_cast<std::size_t>(total_bytes(1, dataset.shape()).value()));
  for_each_piece<Value>(dataset, type, progressed, [&](const auto& values, std::size_t place) {
    std::copy(values.begin(), values.end(), &all[place]);
  });
  return all;
}

/// Numbers of any floating-point type: HDF5 reads them as float32.
bool holds_floats(const hdf5::Dataset& images) { return images.type_class() == H5T_FLOAT; }

/// (sample, height, width, channel): a picture of more than four channels that is at most four
/// pixels wide is none.
bool looks_channels_last(const std::vector<std::int64_t>& shape) {
  return shape[1] > 4 && shape[2] > 4 && shape[3] <= 4;
}

/// Throws unless images are what the rest of the program takes them for.
void check_images(const std::string& path, const hdf5::File& file, const std::string& split) {
  const hdf5::Dataset images(file, images_name(split));
  const std::size_t rank = images.shape().size();
  images.require_values();
  const std::string array = path + ": array '" + images_name(split) + "' ";
  const std::string of_shape = "of shape " + shape_text(images.shape());
  for (std::size_t i = 1; i < rank; ++i) {
    if (images.shape()[i] > 0) continue;
    refuse(array + of_shape + " holds samples without elements");
  }
  if (rank == 4 && looks_channels_last(images.shape())) {
    refuse(array + of_shape +
           " has its channels last; expected (sample, channel, height, width): in NumPy "
           "images.transpose(0, 3, 1, 2)");
  }
  if (images.type_text() == "uint8" && rank == 4) return;
  if (holds_floats(images) && (rank == 4 || rank == 2)) return;
  refuse(array + "is " + images.type_text() + " " + of_shape +
         "; expected uint8 (sample, channel, height, width), as tools/convert_images.py makes it "
         "(from a .npy file, too), or floats of that shape or (sample, dimension)");
}

/// Floats say nothing of the range that they stand in: a look at the first ones helps to choose it.
[[noreturn]] void refuse_without_range(const std::string& path, const hdf5::File& file,
                                       const std::string& split) {
  constexpr std::int64_t first_samples = 1000;
  const hdf5::Dataset images(file, images_name(split));
  hdf5::Block first{std::vector<std::int64_t>(images.shape().size(), 0), images.shape()};
  first.count[0] = std::min(first_samples, first.count[0]);
  std::vector<float> values(first.elements());
  hdf5::read_block(images, first, H5T_NATIVE_FLOAT, values.data());
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  refuse(fmt::format(
      "{}: the images of split '{}' are floats, {}and the file has no attribute "
      "value_range, the two numbers that become data.range: set it, in Python with "
      "h5py.File(\"{}\", \"a\").attrs[\"value_range\"] = [LOWEST, HIGHEST]",
      path, split,
      values.empty() ? std::string() : fmt::format("the first ones from {} to {}, ", *low, *high),
      path));
}

/// The schema version, of those that we read.
std::string check_schema(const std::string& path, hid_t root) {
  const bool text = hdf5::attribute_class(root, "schema_version") == H5T_STRING;
  const auto version = text ? hdf5::read_text(root, "schema_version") : std::nullopt;
  if (!version) {
    refuse(path +
           " is no data file: it has no attribute schema_version that is a text; make one with "
           "tools/convert_images.py, or write \"1.0\" there, if its images are as tools/README.md, "
           "\"Your own data\", says");
  }
  if (version->substr(0, version->find('.')) == "1") return *version;
  refuse(path + " has schema version " + *version +
         "; this program reads versions 1.x: convert the images again");
}

/// Runs a step that reads what may be no HDF5 file at all.
template <typename Step>
auto expecting_hdf5(const Step& step) {
  try {
    return step();
  } catch (const Error& error) {
    refuse(std::string(error.what()) +
           "; expected an HDF5 file, as tools/convert_images.py makes it");
  }
}

}  // namespace

DataFile DataFile::open_checked(const std::string& path) {
  const Seal seal = expecting_hdf5([&] { return check_seal(path); });
  if (seal == Seal::broken) {
    refuse(path + " is damaged: " + seal_problem(seal, "") + "; convert or copy it again");
  }
  if (seal == Seal::none) {
    const ChildReport child = in_child([&](const Send&) {
      prolong_child(description_seconds);
      DataFile{path};
    });
    if (!child.crash.empty()) {
      refuse(path + ": " + damage_of_crash(child) + "; convert or copy it again");
    }
  }
  DataFile file(path);
  if (const auto problem = seal_problem(seal, file.schema_version()); !problem.empty()) {
    refuse(path + ": " + problem);
  }
  return file;
}

DataFile::DataFile(const std::string& path)
    : path_(path), file_(expecting_hdf5([&] {
        return std::make_shared<const hdf5::File>(hdf5::File::open(path, hdf5::Mode::read));
      })) {
  const auto root = hdf5::open_object(*file_, "/");
  schema_version_ = check_schema(path_, root.id());
  for (const auto& group : hdf5::list(*file_, "/", H5O_TYPE_GROUP)) {
    if (hdf5::exists(*file_, images_name(group))) splits_.push_back(group);
  }
  if (splits_.empty()) refuse(path_ + " is no data file: no group in it holds images");
  for (const auto& split : splits_) check_images(path_, *file_, split);
  class_names_ = hdf5::read_texts(root.id(), "class_names").value_or(std::vector<std::string>{});
  provenance_ = hdf5::read_text(root.id(), "provenance").value_or("");
  const auto range = hdf5::read_numbers(root.id(), "value_range");
  if (!range) {
    for (const auto& split : splits_) {
      if (type(split) == ElementType::float32) refuse_without_range(path_, *file_, split);
    }
    return;
  }
  const bool finite = std::ranges::all_of(*range, [](double x) { return std::isfinite(x); });
  if (range->size() != 2 || !finite || !((*range)[0] < (*range)[1])) {
    refuse(path_ + ": attribute value_range must be two finite, rising numbers");
  }
  lowest_ = (*range)[0];
  highest_ = (*range)[1];
}

void DataFile::check_split(const std::string& split) const {
  if (std::ranges::count(splits_, split) > 0) return;
  refuse(fmt::format("{} has no split '{}'; it has: {}", path_, split, fmt::join(splits_, ", ")));
}

std::vector<std::int64_t> DataFile::shape(const std::string& split) const {
  check_split(split);
  return hdf5::Dataset(*file_, images_name(split)).shape();
}

ElementType DataFile::type(const std::string& split) const {
  check_split(split);
  const bool floats = holds_floats(hdf5::Dataset(*file_, images_name(split)));
  return floats ? ElementType::float32 : ElementType::uint8;
}

InspectedArray DataFile::stored(const std::string& array) const {
  const hdf5::Dataset dataset(*file_, array);
  return {.name = array, .type = dataset.type_text(), .shape = dataset.shape()};
}

bool DataFile::has_labels(const std::string& split) const {
  check_split(split);
  return hdf5::exists(*file_, labels_name(split));
}

std::vector<std::uint8_t> DataFile::read_all_images(const std::string& split,
                                                    const Progressed& progressed) const {
  check_split(split);
  auto images = read_all<std::uint8_t>(hdf5::Dataset(*file_, images_name(split)), H5T_NATIVE_UINT8,
                                       progressed);
  check_checksum(split, XXH64(images.data(), images.size(), 0));
  check_range(split, images);
  return images;
}

void DataFile::check_range(const std::string& split, std::span<const std::uint8_t> images) const {
  const auto [low, high] = std::minmax_element(images.begin(), images.end());
  if (images.empty() || (*low >= lowest_ && *high <= highest_)) return;
  refuse(path_ + ": the images of split '" + split + "' have values from " + std::to_string(*low) +
         " to " + std::to_string(*high) +
         ", outside of the file's value_range; convert the images again");
}

std::vector<float> DataFile::read_all_floats(const std::string& split,
                                             const Progressed& progressed) const {
  check_split(split);
  auto values =
      read_all<float>(hdf5::Dataset(*file_, images_name(split)), H5T_NATIVE_FLOAT, progressed);
  check_numbers(split, values, 0);
  return values;
}

/// `first`: the place of the first value in the whole array.
void DataFile::check_numbers(const std::string& split, std::span<const float> values,
                             std::size_t first) const {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i] >= lowest_ && values[i] <= highest_) continue;
    const std::size_t per_sample = row_bytes(ElementType::float32, shape(split)) / sizeof(float);
    refuse(path_ + ": sample " + std::to_string((first + i) / per_sample) + " of split '" + split +
           "' holds " + std::to_string(values[i]) + "; expected numbers from " +
           std::to_string(lowest_) + " to " + std::to_string(highest_) +
           " (attribute value_range): mend or leave out that sample");
  }
}

bool DataFile::has_checksum(const std::string& split) const {
  return hdf5::read_text(hdf5::open_object(*file_, split).id(), "checksum").has_value();
}

void DataFile::check_checksum(const std::string& split, std::uint64_t digest) const {
  const auto group = hdf5::open_object(*file_, split);
  const auto expected = hdf5::read_text(group.id(), "checksum");
  if (!expected) return;
  const std::string found = fmt::format("{:016x}", digest);
  if (*expected == found) return;
  refuse(path_ + " is damaged: the images of split '" + split + "' have checksum " + found +
         " and the file says " + *expected + "; convert or copy it again");
}

std::vector<std::int64_t> DataFile::read_labels(const std::string& split) const {
  if (!has_labels(split)) refuse(path_ + " has no labels in split '" + split + "'");
  check_labels_fit(split);
  auto labels =
      read_all<std::int64_t>(hdf5::Dataset(*file_, labels_name(split)), H5T_NATIVE_INT64, {});
  check_labels(split, labels);
  return labels;
}

void DataFile::check_labels_fit(const std::string& split) const {
  const hdf5::Dataset dataset(*file_, labels_name(split));
  const bool fits = dataset.shape() == std::vector{shape(split)[0]};
  if (fits && dataset.type_class() == H5T_INTEGER) return;
  refuse(path_ + ": the labels of split '" + split + "' are " + dataset.type_text() + " of shape " +
         shape_text(dataset.shape()) + "; expected integers, one for each image");
}

void DataFile::check_labels(const std::string& split, std::span<const std::int64_t> labels) const {
  const auto classes = static_cast<std::int64_t>(class_names_.size());
  for (const std::int64_t label : labels) {
    if (label >= 0 && (classes == 0 || label < classes)) continue;
    refuse(path_ + ": label " + std::to_string(label) + " in split '" + split +
           "' names no class; " +
           (classes == 0 ? "expected numbers from 0"
                         : "there are " + std::to_string(classes) + " class names"));
  }
}

void DataFile::verify_images(const std::string& split, const Progressed& progressed) const {
  if (shape(split)[0] == 0) refuse(path_ + ": the split '" + split + "' holds no images");
  const hdf5::Dataset images(*file_, images_name(split));
  if (type(split) == ElementType::float32) {
    for_each_piece<float>(images, H5T_NATIVE_FLOAT, progressed,
                          [&](auto values, auto place) { check_numbers(split, values, place); });
  } else {
    const std::unique_ptr<XXH64_state_t, XXH_errorcode (*)(XXH64_state_t*)> state(
        XXH64_createState(), XXH64_freeState);
    XXH64_reset(state.get(), 0);
    for_each_piece<std::uint8_t>(images, H5T_NATIVE_UINT8, progressed, [&](auto pixels, auto) {
      XXH64_update(state.get(), pixels.data(), pixels.size());
    });
    // Damage first: it is the reason of whatever else is wrong.
    check_checksum(split, XXH64_digest(state.get()));
    for_each_piece<std::uint8_t>(images, H5T_NATIVE_UINT8, progressed,
                                 [&](auto pixels, auto) { check_range(split, pixels); });
  }
}

void DataFile::verify_labels(const std::string& split, const Progressed& progressed) const {
  check_labels_fit(split);
  for_each_piece<std::int64_t>(hdf5::Dataset(*file_, labels_name(split)), H5T_NATIVE_INT64,
                               progressed, [&](auto labels, auto) { check_labels(split, labels); });
}

}  // namespace stanley
