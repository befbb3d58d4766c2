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

/// Rows are moved slice by slice, so that no transfer and no buffer gets too large.
struct Slicing {
  std::int64_t unit{1};                ///< rows that are never torn apart: those of a chunk
  std::function<void()> progressed{};  ///< on each rank, after each slice
};

/// Collective: every rank calls it, those with no rows too. Writes each rank's rows from contiguous
/// memory, in collective transfers only, and throws if the library made one of them independent.
void write_rows(Communicator& communicator, const Dataset& dataset, Rows mine, const void* data,
                const Slicing& slicing = {});

/// Collective, as above: reads each rank's rows.
void read_rows(Communicator& communicator, const Dataset& dataset, Rows mine, void* data,
               const Slicing& slicing = {});

/// Collective, as above: reads each rank's rows through a buffer of bounded size and returns one
/// digest for each `part_rows` of them; none if the array has no elements.
std::vector<std::uint64_t> digest_rows(Communicator& communicator, const Dataset& dataset,
                                       Rows mine, std::int64_t part_rows,
                                       const Slicing& slicing = {});

}  // namespace stanley::hdf5
