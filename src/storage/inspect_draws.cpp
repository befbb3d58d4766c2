#include <algorithm>
#include <cstddef>

#include "storage/array.hpp"
#include "storage/blocks.hpp"
#include "storage/checkpoint_schema.hpp"
#include "storage/draws.hpp"
#include "storage/inspect_kinds.hpp"

namespace stanley {
namespace {

/// Where a draw file isn't chunked, what is read of it at a time.
constexpr std::size_t most_block_bytes = std::size_t{4} << 20;

/// Reads every block, which makes HDF5 check the chunks' checksums.
void read_through(const hdf5::Dataset& dataset, const Progressed& progressed) {
  std::vector<std::byte> buffer;
  const std::size_t bytes = element_bytes(dataset.type());
  hdf5::for_each_block(dataset.shape(), hdf5::chunk_or_block_shape(dataset, most_block_bytes),
                       [&](const hdf5::Block& block) {
                         progressed();
                         buffer.resize(block.elements() * bytes);
                         hdf5::read_block(dataset, block, buffer.data());
                       });
}

void inspect_draw_array(FileReport& report, const hdf5::File& file, const std::string& name,
                        const Progressed& progressed) {
  inspect_array(report, {.name = name}, [&](InspectedArray& array) {
    const hdf5::Dataset dataset(file, name);
    array.shape = dataset.shape();
    array.type = dataset.type_text();
    const H5T_class_t kind = dataset.type_class();
    if (kind != H5T_INTEGER && kind != H5T_FLOAT) {
      report.notes.push_back("array '" + name + "' is no array of numbers and was not read");
      return;
    }
    dataset.require_values();
    const auto agrees = agrees_with_digest(dataset, progressed);
    if (!agrees) return read_through(dataset, progressed);
    if (!*agrees) report.problems.push_back(damage_text(name));
  });
}

/// posterior/x (chain, draw, ...) and the rest of the same chains and draws.
void note_misfits(FileReport& report) {
  const auto states = std::ranges::find(report.arrays, "posterior/x", &InspectedArray::name);
  if (states == report.arrays.end() || states->shape.size() < 3) {
    report.problems.emplace_back(
        "it is incomplete: it has no array posterior/x (chain, draw, state...)");
    return;
  }
  for (const auto& array : report.arrays) {
    if (!array.name.starts_with("sample_stats/") || array.shape.size() < 2) continue;
    if (std::equal(array.shape.begin(), array.shape.begin() + 2, states->shape.begin())) continue;
    report.problems.push_back("array '" + array.name + "' of shape " + shape_text(array.shape) +
                              " doesn't fit posterior/x of shape " + shape_text(states->shape));
  }
}

void read_attributes(FileReport& report, const hdf5::File& file) {
  const auto root = hdf5::open_object(file, "/");
  for (const auto& name : hdf5::attribute_names(root.id())) {
    if (hdf5::attribute_class(root.id(), name) == H5T_STRING) {
      report.texts[name] = hdf5::read_text(root.id(), name).value_or("");
    } else if (const auto number = hdf5::read_number(root.id(), name)) {
      report.numbers[name] = *number;
    }
  }
  if (report.texts.erase("schema_version") > 0) {
    check_schema_major(report.path, report.schema_version);
  }
  const auto iteration = report.numbers.find("iteration");
  if (iteration == report.numbers.end()) return;
  if (const auto* number = std::get_if<std::int64_t>(&iteration->second)) {
    report.iteration = *number;
    report.numbers.erase(iteration);
  }
}

}  // namespace

void inspect_draws(FileReport& report, const hdf5::File& file, const Progressed& progressed) {
  for (const auto& name : hdf5::list(file, "/", H5O_TYPE_DATASET, true)) {
    inspect_draw_array(report, file, name, progressed);
  }
  note_misfits(report);
  read_attributes(report, file);
}

}  // namespace stanley
