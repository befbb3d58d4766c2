#include <algorithm>
#include <cstddef>
#include <span>

#include "config/error.hpp"
#include "storage/checkpoint.hpp"
#include "storage/checkpoint_schema.hpp"
#include "storage/digest.hpp"
#include "storage/hdf5.hpp"
#include "storage/scales.hpp"

// What a checkpoint says about itself: made and read by one rank alone.

namespace stanley {
namespace {

constexpr const char* checkpoint_schema = "1.1";

/// Texts above 64 KiB live where HDF5 keeps no checksum.
std::uint64_t digest_texts(const std::map<std::string, std::string>& texts) {
  std::string all;
  for (const auto& [name, text] : texts) all += name + '\0' + text + '\0';
  return digest(std::as_bytes(std::span(all)));
}

std::vector<std::string> dimension_names(const ArrayView& view) {
  if (!view.dimensions.empty() || view.shards == 0) return view.dimensions;
  switch (view.shape.size()) {
    case 1:
      return {"chain"};
    case 2:
      return {"chain", "dimension"};
    case 4:
      return {"chain", "channel", "height", "width"};
    default:
      return {};
  }
}

void write_progress(const hdf5::File& file, const Progress& progress) {
  hdf5::make_groups(file, "progress");
  const auto group = hdf5::open_object(file, "progress");
  for (const auto& [name, value] : progress) {
    std::visit([&, &name = name](auto number) { hdf5::write_attribute(group.id(), name, number); },
               value);
  }
}

Progress read_progress(const hdf5::File& file) {
  Progress progress;
  const auto group = hdf5::open_object(file, "progress");
  for (const auto& name : hdf5::attribute_names(group.id())) {
    const auto number = hdf5::read_number(group.id(), name);
    if (!number) {
      throw FileError("attribute '" + name + "' of '/progress' of " + file.path() +
                      " holds no number");
    }
    progress[name] = *number;
  }
  return progress;
}

void make_array(const hdf5::File& file, hdf5::Scales& scales, const ArrayView& view) {
  auto array = hdf5::make_dataset(file, view.name, view.type, view.shape);
  const auto names = dimension_names(view);
  if (names.empty()) {
    scales.attach_sizes(array);
  } else {
    scales.attach(array, names);
  }
  auto digests = hdf5::make_dataset(file, digests_name(view.name), ElementType::uint64,
                                    {std::max<std::int64_t>(view.shards, 1)});
  hdf5::write_attribute(digests.id(), "shards", view.shards);
  scales.attach_sizes(digests);
  if (view.shards > 0) return;
  const std::size_t bytes = local_bytes(view);
  const std::uint64_t own = digest({static_cast<const std::byte*>(view.data), bytes});
  digests.write_all(&own);
  if (bytes > 0) array.write_all(view.data);
}

StoredArray read_array_header(const hdf5::File& file, const std::string& name) {
  const hdf5::Dataset array(file, name);
  const hdf5::Dataset digests(file, digests_name(name));
  StoredArray stored{.name = name, .type = array.type(), .shape = array.shape()};
  stored.shards = hdf5::read_integer(digests.id(), "shards").value_or(0);
  const auto expected = std::max<std::int64_t>(stored.shards, 1);
  if (stored.shards < 0 || digests.shape() != std::vector{expected} ||
      digests.type() != ElementType::uint64 ||
      (stored.shards > 0 && row_count(stored.shape) % stored.shards != 0)) {
    throw FileError("the digests of array '" + name + "' of " + file.path() + " don't fit it");
  }
  array.check_space();
  digests.check_space();
  stored.digests.resize(static_cast<std::size_t>(expected));
  digests.read_all(stored.digests.data());
  return stored;
}

}  // namespace

std::string digests_name(const std::string& array) { return "digests/" + array; }

void create_checkpoint_schema(const hdf5::File& file, const CheckpointContents& contents,
                              int world_size, const Progressed& progressed) {
  const auto root = hdf5::open_object(file, "/");
  hdf5::write_fixed_text(root.id(), "schema_version", checkpoint_schema);
  hdf5::write_attribute(root.id(), "iteration", contents.iteration);
  hdf5::write_attribute(root.id(), "world_size", static_cast<std::int64_t>(world_size));
  for (const auto& [name, text] : contents.texts) hdf5::write_fixed_text(root.id(), name, text);
  hdf5::write_attribute(root.id(), "texts_digest", digest_texts(contents.texts));
  write_progress(file, contents.progress);
  hdf5::Scales scales(file);
  for (const auto& view : contents.arrays) {
    make_array(file, scales, view);
    if (progressed) progressed();
  }
}

void check_schema_major(const std::string& path, const std::string& version) {
  const std::string known = checkpoint_schema;
  const std::string major = known.substr(0, known.find('.'));
  if (version.substr(0, version.find('.')) == major) return;
  throw UnknownSchema(path + " has schema version " + version + "; this program reads versions " +
                      major + ".x: use the release that wrote it");
}

CheckpointHeader read_checkpoint_header(const std::string& path) {
  const auto file = hdf5::File::open(path, hdf5::Mode::read);
  const auto root = hdf5::open_object(file, "/");
  const auto version = hdf5::read_text(root.id(), "schema_version");
  const auto iteration = hdf5::read_integer(root.id(), "iteration");
  if (!version || !iteration || !hdf5::exists(file, "digests")) {
    throw FileError(path + " is no checkpoint of this program");
  }
  check_schema_major(path, *version);
  CheckpointHeader header{.path = path, .schema_version = *version, .iteration = *iteration};
  header.world_size = hdf5::read_integer(root.id(), "world_size").value_or(0);
  for (const auto& name : hdf5::attribute_names(root.id())) {
    if (name == "schema_version") continue;
    if (hdf5::attribute_class(root.id(), name) == H5T_INTEGER) continue;
    if (const auto text = hdf5::read_text(root.id(), name)) header.texts[name] = *text;
  }
  if (hdf5::read_unsigned(root.id(), "texts_digest") != digest_texts(header.texts)) {
    throw FileError("the texts of " + path + " don't agree with their digest");
  }
  header.progress = read_progress(file);
  for (const auto& name : hdf5::list(file, "digests", H5O_TYPE_DATASET, true)) {
    header.arrays.push_back(read_array_header(file, name));
  }
  return header;
}

namespace {

template <typename Value>
Value value_of(const Progress& progress, const std::string& name, const char* kind) {
  const auto found = progress.find(name);
  if (found != progress.end() && std::holds_alternative<Value>(found->second)) {
    return std::get<Value>(found->second);
  }
  throw FileError("the checkpoint's /progress has no attribute '" + name + "' that is " + kind +
                  "; another program changed it");
}

}  // namespace

std::int64_t integer_of(const Progress& progress, const std::string& name) {
  return value_of<std::int64_t>(progress, name, "an integer");
}

double real_of(const Progress& progress, const std::string& name) {
  return value_of<double>(progress, name, "a real number");
}

std::optional<std::int64_t> best_iteration(const Progress& progress) {
  if (!progress.contains(best_progress)) return std::nullopt;
  return integer_of(progress, best_progress);
}

std::optional<std::string> CheckpointHeader::text(const std::string& name) const {
  const auto found = texts.find(name);
  return found == texts.end() ? std::nullopt : std::optional(found->second);
}

const StoredArray* CheckpointHeader::find(const std::string& name) const {
  const auto found = std::ranges::find(arrays, name, &StoredArray::name);
  return found == arrays.end() ? nullptr : &*found;
}

}  // namespace stanley
