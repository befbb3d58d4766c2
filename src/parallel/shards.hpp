#pragma once

#include <algorithm>
#include <cstdint>

namespace stanley {

/// The shards of one rank: `count` neighbours from `first`, of `total`.
struct Shards {
  std::int64_t total{1};
  std::int64_t first{0};
  std::int64_t count{1};
};

/// Deals `total` shards to `size` ranks (at most `total`) as evenly as it goes; the first ranks
/// take one more each where something is left over.
inline Shards deal_shards(std::int64_t total, std::int64_t rank, std::int64_t size) {
  const std::int64_t each = total / size, left = total % size;
  return {total, rank * each + std::min(rank, left), each + (rank < left ? 1 : 0)};
}

}  // namespace stanley
