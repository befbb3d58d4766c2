#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "storage/hdf5.hpp"

namespace stanley::hdf5 {

/// A box of an array's elements; empty vectors for an array without dimensions.
struct Block {
  std::vector<std::int64_t> start{};
  std::vector<std::int64_t> count{};

  std::size_t elements() const;
};

/// Shape of blocks of at most `most_bytes` (of one element at least) whose elements are neighbours
/// in the array's row-major order.
std::vector<std::int64_t> block_shape(const std::vector<std::int64_t>& shape,
                                      std::size_t element_bytes, std::size_t most_bytes);

/// Shape of an array's chunks; block_shape() of these most bytes where it has none.
std::vector<std::int64_t> chunk_or_block_shape(const Dataset& dataset, std::size_t most_bytes);

/// Calls `step` with blocks of this shape, smaller ones at the edges, that cover an array: in
/// row-major order of their places.
void for_each_block(const std::vector<std::int64_t>& shape, const std::vector<std::int64_t>& block,
                    const std::function<void(const Block&)>& step);

/// A dataspace of the array with a block of it selected: all of it where it has no dimensions.
Handle select_block(const Dataset& dataset, const Block& block);

/// One rank alone: the elements of a block, in row-major order, in the array's own type or as
/// `type` lies in memory.
void read_block(const Dataset& dataset, const Block& block, void* data);
void read_block(const Dataset& dataset, const Block& block, hid_t type, void* data);

}  // namespace stanley::hdf5
