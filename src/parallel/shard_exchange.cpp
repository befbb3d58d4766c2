#include "parallel/shard_exchange.hpp"

#include <algorithm>
#include <numeric>
#include <string>

namespace stanley {

Communicator::Exchange ShardExchange::order(std::size_t length) const {
  const std::size_t longest = *std::max_element(parts.begin(), parts.end()) * slice(length);
  return longest * sizeof(float) > pairwise_bytes ? Communicator::Exchange::pairwise
                                                  : Communicator::Exchange::at_once;
}

std::size_t count_parts(std::size_t parts_size, std::size_t total_size) {
  if (total_size == 0) return 0;
  if (parts_size % total_size != 0) {
    throw Error(ExitCode::bug, "a reduction got " + std::to_string(parts_size) +
                                   " numbers, which is no multiple of the vector's " +
                                   std::to_string(total_size));
  }
  return parts_size / total_size;
}

ShardExchange plan_exchange(Communicator& communicator, std::size_t parts, std::size_t total_size,
                            std::size_t buffer_floats) {
  const auto ranks = static_cast<std::size_t>(communicator.size());
  const auto rank = static_cast<std::size_t>(communicator.rank());
  std::vector<std::int64_t> table(2 * ranks, 0);
  table[rank] = static_cast<std::int64_t>(parts);
  table[ranks + rank] = static_cast<std::int64_t>(total_size);
  communicator.sum(std::span(table));

  ShardExchange exchange;
  exchange.parts.assign(table.begin(), table.begin() + static_cast<std::ptrdiff_t>(ranks));
  exchange.total_parts =
      std::accumulate(exchange.parts.begin(), exchange.parts.end(), std::size_t{0});
  for (std::size_t other = 0; other < ranks; ++other) {
    if (table[ranks + other] == table[ranks]) continue;
    throw Error(ExitCode::bug, "a reduction got a vector of " + std::to_string(table[ranks]) +
                                   " numbers on rank 0 and of " +
                                   std::to_string(table[ranks + other]) + " on rank " +
                                   std::to_string(other));
  }
  const std::size_t wanted = buffer_floats / std::max<std::size_t>(1, exchange.total_parts);
  exchange.block = std::min(total_size, std::max(ranks, wanted));
  return exchange;
}

}  // namespace stanley
