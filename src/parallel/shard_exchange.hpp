#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "parallel/communicator.hpp"

namespace stanley {

/// How the ordered sum is laid out over the ranks: the vector goes in blocks, each block is cut in
/// one slice for each rank, each rank receives its slice of every part of every rank, sums them in
/// shard order, and the sums are gathered. The layout never changes a bit of the result: each
/// element's sum has the same terms in the same order. Shared by the host and the device reducer.
struct ShardExchange {
  std::vector<std::size_t> parts;  ///< how many parts each rank holds
  std::size_t total_parts = 0;
  std::size_t block = 0;  ///< floats of the vector that go in one exchange

  std::size_t ranks() const { return parts.size(); }
  /// Floats in a slice of a block of `length` floats; the last slices may be shorter.
  std::size_t slice(std::size_t length) const { return (length + ranks() - 1) / ranks(); }
  /// Where rank's slice of such a block begins, and how many floats it holds (maybe none).
  std::size_t slice_begin(std::size_t length, std::size_t rank) const {
    return std::min(rank * slice(length), length);
  }
  std::size_t slice_size(std::size_t length, std::size_t rank) const {
    return slice_begin(length, rank + 1) - slice_begin(length, rank);
  }
  /// How MPI is to exchange such a block: pairwise where a message may exceed pairwise_bytes.
  Communicator::Exchange order(std::size_t length) const;
};

/// Messages up to here go to all ranks at once. Between four hosts of 20 Mbit/s messages of 25 and
/// 200 KB took 1.1 to 1.3 times as long at once as pairwise (tests/network/reduction.py).
constexpr std::size_t pairwise_bytes = 16384;

/// How many parts of `total_size` floats there are in `parts_size`; throws Error(ExitCode::bug) if
/// they don't divide.
std::size_t count_parts(std::size_t parts_size, std::size_t total_size);

/// Collective. Asks all ranks for their number of parts and checks that their vectors have the same
/// length; if not, all ranks throw Error(ExitCode::bug). A block is chosen so that no buffer
/// exceeds `buffer_floats` by much, and so that MPI can count it.
ShardExchange plan_exchange(Communicator& communicator, std::size_t parts, std::size_t total_size,
                            std::size_t buffer_floats = std::size_t{1} << 24);

}  // namespace stanley
