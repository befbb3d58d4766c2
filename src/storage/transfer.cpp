#include "storage/transfer.hpp"

#include <algorithm>

#include "config/error.hpp"
#include "storage/digest.hpp"

namespace stanley::hdf5 {
namespace {

/// What is moved at once: whole rows, or of one row some indices of the second dimension. It is
/// contiguous in memory.
struct Slice {
  Rows rows;
  Rows within;        ///< of the second dimension; all of it where there are several rows
  std::size_t first;  ///< its first byte in the rank's memory
  std::size_t bytes;
};

/// A dataspace of the array with this slice selected; nothing selected where it is empty.
Handle select_in_file(const Dataset& dataset, const Slice& slice) {
  const auto describe = [&] {
    return "select rows of array '" + dataset.name() + "' of " + dataset.file();
  };
  Handle space(check(H5Dget_space(dataset.id()), describe), H5Sclose);
  if (slice.bytes == 0) {
    check(H5Sselect_none(space.id()), describe);
  } else if (!dataset.shape().empty()) {
    std::vector<hsize_t> start(dataset.shape().size(), 0);
    std::vector<hsize_t> count(dataset.shape().begin(), dataset.shape().end());
    start[0] = static_cast<hsize_t>(slice.rows.first);
    count[0] = static_cast<hsize_t>(slice.rows.count);
    if (count.size() > 1) {
      start[1] = static_cast<hsize_t>(slice.within.first);
      count[1] = static_cast<hsize_t>(slice.within.count);
    }
    check(H5Sselect_hyperslab(space.id(), H5S_SELECT_SET, start.data(), nullptr, count.data(),
                              nullptr),
          describe);
  }
  return space;
}

Handle select_in_memory(const Dataset& dataset, const Slice& slice) {
  const hsize_t elements = std::max<hsize_t>(slice.bytes / element_bytes(dataset.type()), 1);
  Handle space(H5Screate_simple(1, &elements, nullptr), H5Sclose);
  if (slice.bytes == 0) H5Sselect_none(space.id());
  return space;
}

void check_collective(hid_t transfer, const Dataset& dataset) {
  std::uint32_t local = 0;
  std::uint32_t global = 0;
  H5Pget_mpio_no_collective_cause(transfer, &local, &global);
  if (global == H5D_MPIO_COLLECTIVE) return;
  throw Error(ExitCode::bug, "the transfer of array '" + dataset.name() + "' of " + dataset.file() +
                                 " was not collective (cause " + std::to_string(global) + ")");
}

enum class Direction { write, read };

/// Collective. One transfer of one slice.
void transfer(Communicator& communicator, const Dataset& dataset, Direction direction,
              const Slice& slice, void* data) {
  const Handle file_space = select_in_file(dataset, slice);
  const Handle memory_space = select_in_memory(dataset, slice);
  const Handle properties(H5Pcreate(H5P_DATASET_XFER), H5Pclose);
  const bool shared = communicator.size() > 1;
  if (shared) H5Pset_dxpl_mpio(properties.id(), H5FD_MPIO_COLLECTIVE);
  const hid_t type = memory_type(dataset.type());
  // HDF5 wants a pointer even where it moves nothing.
  char nothing = 0;
  if (data == nullptr) data = &nothing;
  const herr_t status =
      direction == Direction::write
          ? H5Dwrite(dataset.id(), type, memory_space.id(), file_space.id(), properties.id(), data)
          : H5Dread(dataset.id(), type, memory_space.id(), file_space.id(), properties.id(), data);
  check(status, [&] {
    return (direction == Direction::write ? "write array '" : "read array '") + dataset.name() +
           "' of " + dataset.file();
  });
  if (shared) check_collective(properties.id(), dataset);
}

/// How the rows of an array are cut.
class Cut {
 public:
  Cut(const Dataset& dataset, Rows mine, const Slicing& slicing)
      : mine_(mine),
        row_bytes_(row_bytes(dataset.type(), dataset.shape())),
        within_(dataset.shape().size() > 1 ? dataset.shape()[1] : 1) {
    const auto fitting = static_cast<std::int64_t>(slicing.bytes / row_bytes_);
    rows_ = std::max(fitting / slicing.unit, std::int64_t{1}) * slicing.unit;
    at_once_ = within_;
    if (fitting > 0 || slicing.unit > 1) return;
    const auto indices = static_cast<std::int64_t>(slicing.bytes / index_bytes());
    at_once_ = std::max(indices / slicing.unit_within, std::int64_t{1}) * slicing.unit_within;
  }

  std::int64_t slices() const { return (mine_.count + rows_ - 1) / rows_ * slices_of_row(); }

  /// Empty ones behind the last.
  Slice slice(std::int64_t i) const {
    const std::int64_t row = std::min(i / slices_of_row() * rows_, mine_.count);
    const std::int64_t count = std::min(rows_, mine_.count - row);
    const std::int64_t first = i % slices_of_row() * at_once_;
    const std::int64_t within = std::min(at_once_, within_ - first);
    return {.rows = {mine_.first + row, count},
            .within = {first, within},
            .first = static_cast<std::size_t>(row) * row_bytes_ +
                     static_cast<std::size_t>(first) * index_bytes(),
            .bytes = static_cast<std::size_t>(count * within) * index_bytes()};
  }

 private:
  std::int64_t slices_of_row() const { return (within_ + at_once_ - 1) / at_once_; }
  std::size_t index_bytes() const { return row_bytes_ / static_cast<std::size_t>(within_); }

  Rows mine_;
  std::size_t row_bytes_;
  std::int64_t within_;             // extent of the second dimension
  std::int64_t rows_, at_once_{1};  // of a slice: rows, indices of the second dimension
};

/// Collective. Calls `step` equally often on all ranks, with neighbouring slices of its rows, empty
/// ones where a rank has fewer than another.
void for_each_slice(Communicator& communicator, const Dataset& dataset, Rows mine,
                    const Slicing& slicing, const std::function<void(const Slice&)>& step) {
  if (row_bytes(dataset.type(), dataset.shape()) == 0 || row_count(dataset.shape()) == 0) return;
  const Cut cut(dataset, mine, slicing);
  const auto slices =
      static_cast<std::int64_t>(communicator.max(static_cast<double>(cut.slices())));
  for (std::int64_t i = 0; i < slices; ++i) {
    step(cut.slice(i));
    if (slicing.progressed) slicing.progressed();
  }
}

}  // namespace

void write_rows(Communicator& communicator, const Dataset& dataset, Rows mine, const void* data,
                const Slicing& slicing) {
  for_each_slice(communicator, dataset, mine, slicing, [&](const Slice& slice) {
    auto* from = static_cast<std::byte*>(const_cast<void*>(data));
    if (from != nullptr) from += slice.first;
    transfer(communicator, dataset, Direction::write, slice, from);
  });
}

void read_rows(Communicator& communicator, const Dataset& dataset, Rows mine, void* data,
               const Slicing& slicing) {
  for_each_slice(communicator, dataset, mine, slicing, [&](const Slice& slice) {
    auto* to = static_cast<std::byte*>(data);
    if (to != nullptr) to += slice.first;
    transfer(communicator, dataset, Direction::read, slice, to);
  });
}

std::vector<std::uint64_t> digest_rows(Communicator& communicator, const Dataset& dataset,
                                       Rows mine, std::int64_t part_rows, const Slicing& slicing) {
  PartDigester digester(static_cast<std::size_t>(part_rows) *
                        row_bytes(dataset.type(), dataset.shape()));
  std::vector<std::byte> buffer;
  for_each_slice(communicator, dataset, mine, slicing, [&](const Slice& slice) {
    buffer.resize(slice.bytes);
    transfer(communicator, dataset, Direction::read, slice, buffer.data());
    digester.feed(buffer);
  });
  return digester.digests();
}

}  // namespace stanley::hdf5
