#include "storage/transfer.hpp"

#include <algorithm>

#include "config/error.hpp"
#include "storage/digest.hpp"

namespace stanley::hdf5 {
namespace {

/// Most bytes that one rank moves in one transfer: well below the 2 GiB that MPI-IO's layers count
/// in, and what digest_rows() needs as a buffer.
constexpr std::size_t slice_bytes = std::size_t{64} << 20;

/// A dataspace of the array with these rows selected; nothing selected where there are none.
Handle select_in_file(const Dataset& dataset, Rows rows) {
  const auto describe = [&] {
    return "select rows of array '" + dataset.name() + "' of " + dataset.file();
  };
  Handle space(check(H5Dget_space(dataset.id()), describe), H5Sclose);
  if (rows.count == 0) {
    check(H5Sselect_none(space.id()), describe);
  } else if (!dataset.shape().empty()) {
    std::vector<hsize_t> start(dataset.shape().size(), 0);
    std::vector<hsize_t> count(dataset.shape().begin(), dataset.shape().end());
    start[0] = static_cast<hsize_t>(rows.first);
    count[0] = static_cast<hsize_t>(rows.count);
    check(H5Sselect_hyperslab(space.id(), H5S_SELECT_SET, start.data(), nullptr, count.data(),
                              nullptr),
          describe);
  }
  return space;
}

Handle select_in_memory(const Dataset& dataset, Rows rows) {
  hsize_t elements = static_cast<hsize_t>(std::max<std::int64_t>(rows.count, 1));
  for (std::size_t i = 1; i < dataset.shape().size(); ++i) {
    elements *= static_cast<hsize_t>(dataset.shape()[i]);
  }
  Handle space(H5Screate_simple(1, &elements, nullptr), H5Sclose);
  if (rows.count == 0) H5Sselect_none(space.id());
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
void transfer(Communicator& communicator, const Dataset& dataset, Direction direction, Rows rows,
              void* data) {
  const Handle file_space = select_in_file(dataset, rows);
  const Handle memory_space = select_in_memory(dataset, rows);
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

/// Collective. Calls `step` equally often on all ranks, with neighbouring slices of its rows, empty
/// ones where a rank has fewer than another.
void for_each_slice(Communicator& communicator, const Dataset& dataset, Rows mine,
                    const Slicing& slicing, const std::function<void(Rows)>& step) {
  const std::size_t bytes = row_bytes(dataset.type(), dataset.shape());
  if (bytes == 0 || row_count(dataset.shape()) == 0) return;
  const auto fitting = static_cast<std::int64_t>(slice_bytes / bytes);
  const std::int64_t rows = std::max(fitting / slicing.unit, std::int64_t{1}) * slicing.unit;
  const std::int64_t own_slices = (mine.count + rows - 1) / rows;
  const auto slices = static_cast<std::int64_t>(communicator.max(static_cast<double>(own_slices)));
  for (std::int64_t i = 0; i < slices; ++i) {
    const std::int64_t begin = std::min(i * rows, mine.count);
    step({mine.first + begin, std::min(rows, mine.count - begin)});
    if (slicing.progressed) slicing.progressed();
  }
}

}  // namespace

void write_rows(Communicator& communicator, const Dataset& dataset, Rows mine, const void* data,
                const Slicing& slicing) {
  const std::size_t bytes = row_bytes(dataset.type(), dataset.shape());
  for_each_slice(communicator, dataset, mine, slicing, [&](Rows rows) {
    auto* from = static_cast<std::byte*>(const_cast<void*>(data));
    if (from != nullptr) from += static_cast<std::size_t>(rows.first - mine.first) * bytes;
    transfer(communicator, dataset, Direction::write, rows, from);
  });
}

void read_rows(Communicator& communicator, const Dataset& dataset, Rows mine, void* data,
               const Slicing& slicing) {
  const std::size_t bytes = row_bytes(dataset.type(), dataset.shape());
  for_each_slice(communicator, dataset, mine, slicing, [&](Rows rows) {
    auto* to = static_cast<std::byte*>(data);
    if (to != nullptr) to += static_cast<std::size_t>(rows.first - mine.first) * bytes;
    transfer(communicator, dataset, Direction::read, rows, to);
  });
}

std::vector<std::uint64_t> digest_rows(Communicator& communicator, const Dataset& dataset,
                                       Rows mine, std::int64_t part_rows, const Slicing& slicing) {
  const std::size_t bytes = row_bytes(dataset.type(), dataset.shape());
  PartDigester digester(static_cast<std::size_t>(part_rows) * bytes);
  std::vector<std::byte> buffer;
  for_each_slice(communicator, dataset, mine, slicing, [&](Rows rows) {
    buffer.resize(static_cast<std::size_t>(rows.count) * bytes);
    transfer(communicator, dataset, Direction::read, rows, buffer.data());
    digester.feed(buffer);
  });
  return digester.digests();
}

}  // namespace stanley::hdf5
