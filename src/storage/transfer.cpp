#include "storage/transfer.hpp"

#include <algorithm>
#include <utility>

#include "config/error.hpp"
#include "storage/blocks.hpp"
#include "storage/digest.hpp"

namespace stanley::hdf5 {
namespace {

/// What is moved at once: whole rows, or of one row some indices of the second dimension. It is
/// contiguous in memory.
struct Slice {
  Block block{};
  std::size_t first{0};  ///< its first byte in the rank's memory
  std::size_t bytes{0};  ///< 0: nothing is selected
};

void check_collective(hid_t transfer, const Dataset& dataset) {
  std::uint32_t local = 0;
  std::uint32_t global = 0;
  H5Pget_mpio_no_collective_cause(transfer, &local, &global);
  if (global == H5D_MPIO_COLLECTIVE) return;
  throw Error(ExitCode::bug, "the transfer of " + dataset.described() +
                                 " was not collective (cause " + std::to_string(global) + ")");
}

enum class Direction { write, read };

/// Collective. One transfer of one slice.
void transfer(Communicator& communicator, const Dataset& dataset, Direction direction,
              const Slice& slice, void* data) {
  const Handle file_space = select_block(dataset, slice.block);
  const hsize_t elements = std::max<hsize_t>(slice.bytes / element_bytes(dataset.type()), 1);
  const Handle memory_space(H5Screate_simple(1, &elements, nullptr), H5Sclose);
  if (slice.bytes == 0) {
    H5Sselect_none(file_space.id());
    H5Sselect_none(memory_space.id());
  }
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
  check(status,
        [&] { return (direction == Direction::write ? "write " : "read ") + dataset.described(); });
  if (shared) check_collective(properties.id(), dataset);
}

/// Shape of the slices that the rows of an array are cut into.
std::vector<std::int64_t> slice_shape(const Dataset& dataset, const Slicing& slicing) {
  const auto fitting = [&](std::size_t bytes_each, std::int64_t unit) {
    return std::max(static_cast<std::int64_t>(slicing.bytes / bytes_each) / unit, std::int64_t{1}) *
           unit;
  };
  std::vector<std::int64_t> shape = dataset.shape();
  if (shape.empty()) return shape;
  const std::size_t row = row_bytes(dataset.type(), shape);
  const bool torn = shape.size() > 1 && row > slicing.bytes && slicing.unit == 1;
  if (torn) shape[1] = fitting(row / static_cast<std::size_t>(shape[1]), slicing.unit_within);
  shape[0] = fitting(row, slicing.unit);
  return shape;
}

/// Collective. Calls `step` equally often on all ranks, with neighbouring slices of its rows, empty
/// ones where a rank has fewer than another.
void for_each_slice(Communicator& communicator, const Dataset& dataset, Rows mine,
                    const Slicing& slicing, const std::function<void(const Slice&)>& step) {
  std::vector<std::int64_t> extents = dataset.shape();
  if (row_bytes(dataset.type(), extents) == 0 || row_count(extents) == 0) return;
  if (!extents.empty()) extents[0] = mine.count;
  const std::vector<std::int64_t> shape = slice_shape(dataset, slicing);
  std::int64_t own = mine.count > 0 ? 1 : 0;
  for (std::size_t i = 0; i < shape.size(); ++i) own *= (extents[i] + shape[i] - 1) / shape[i];
  auto left = static_cast<std::int64_t>(communicator.max(static_cast<double>(own)));
  std::size_t first = 0;
  const auto hand_on = [&](const Slice& slice) {
    step(slice);
    if (slicing.progressed) slicing.progressed();
    first += slice.bytes;
    --left;
  };
  if (own > 0) {
    for_each_block(extents, shape, [&](Block block) {
      if (!extents.empty()) block.start[0] += mine.first;
      const std::size_t bytes = block.elements() * element_bytes(dataset.type());
      hand_on({std::move(block), first, bytes});
    });
  }
  while (left > 0) hand_on({});
}

}  // namespace

void write_rows(Communicator& communicator, const Dataset& dataset, Rows mine, const void* data,
                const Slicing& slicing) {
  auto* from = static_cast<std::byte*>(const_cast<void*>(data));
  for_each_slice(communicator, dataset, mine, slicing, [&](const Slice& slice) {
    transfer(communicator, dataset, Direction::write, slice, from + slice.first);
  });
}

void read_rows(Communicator& communicator, const Dataset& dataset, Rows mine, void* data,
               const Slicing& slicing) {
  auto* to = static_cast<std::byte*>(data);
  for_each_slice(communicator, dataset, mine, slicing, [&](const Slice& slice) {
    transfer(communicator, dataset, Direction::read, slice, to + slice.first);
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
