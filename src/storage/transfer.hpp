#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "parallel/communicator.hpp"
#include "storage/hdf5.hpp"

namespace stanley::hdf5 {

/// Neighbouring indices of an array's first dimension. An array without dimensions has one row.
struct Rows {
  std::int64_t first{0};
  std::int64_t count{0};
};

/// Most bytes that one rank moves in one transfer: well below the 2 GiB that MPI-IO's layers count
/// in, and what digest_rows() needs as a buffer.
constexpr std::size_t slice_bytes = std::size_t{64} << 20;

/// Rows are moved slice by slice, so that no transfer and no buffer gets too large.
struct Slicing {
  std::int64_t unit{1};  ///< rows that are never torn apart: those of a chunk
  /// A single row that is larger than a slice goes in pieces of so many indices of the second
  /// dimension, or a multiple: those of a chunk.
  std::int64_t unit_within{1};
  std::function<void()> progressed{};  ///< on each rank, after each slice
  std::size_t bytes{slice_bytes};      ///< of a slice
};

/// Collective: every rank calls it, those with no rows too. Writes each rank's rows from contiguous
/// memory, in collective transfers only, and throws if the library made one of them independent.
void write_rows(Communicator& communicator, const Dataset& dataset, Rows mine, const void* data,
                const Slicing& slicing = {});

/// Collective, as above: reads each rank's rows.
void read_rows(Communicator& communicator, const Dataset& dataset, Rows mine, void* data,
               const Slicing& slicing = {});

/// Collective, as above: reads each rank's rows through a buffer of bounded size and returns one
/// digest for each `part_rows` of them, fewer at the end; none if the array has no elements.
std::vector<std::uint64_t> digest_rows(Communicator& communicator, const Dataset& dataset,
                                       Rows mine, std::int64_t part_rows,
                                       const Slicing& slicing = {});

}  // namespace stanley::hdf5
