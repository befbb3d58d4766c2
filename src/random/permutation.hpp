#pragma once

#include <cstdint>

#include "random/random.hpp"

namespace stanley::random {

/// Where a keyed permutation of 0..n−1 sends `index`: computed, not stored, so that any rank finds
/// any position without the rest. n from 1 to 2^64 − 1, index < n, epoch < 2^60; each (key, epoch,
/// id) has its own permutation.
///
/// A balanced Feistel network of twelve rounds permutes the next power of four; its round function
/// is the first word of Philox at {right half, id, 16·epoch + round}. An image outside 0..n−1 is
/// sent through again until it falls inside ("cycle walking": Black and Rogaway, "Ciphers with
/// arbitrary finite domains", 2002), fewer than four times on average. Feistel rounds are even
/// permutations, so a last random bit swaps 0 and 1 or not: small n then have all of their n!
/// orders equally often.
STANLEY_HOST_DEVICE std::uint64_t permute(std::uint64_t index, std::uint64_t n, Key key,
                                          std::uint64_t epoch, std::uint32_t id = 0) {
  constexpr std::uint32_t rounds = 12;
  std::uint32_t half_bits = 1;
  while (half_bits < 32 && ((n - 1) >> (2 * half_bits)) != 0) {
    ++half_bits;
  }
  const std::uint32_t mask = 0xFFFFFFFFU >> (32 - half_bits);
  do {
    auto left = static_cast<std::uint32_t>(index >> half_bits);
    auto right = static_cast<std::uint32_t>(index) & mask;
    for (std::uint32_t round = 0; round < rounds; ++round) {
      const std::uint32_t word = block(key, id, 16 * epoch + round, right).value[0];
      const std::uint32_t mixed = left ^ (word & mask);
      left = right;
      right = mixed;
    }
    index = static_cast<std::uint64_t>(left) << half_bits | right;
  } while (index >= n);
  if (index < 2 && n > 1) {
    index ^= block(key, id, 16 * epoch + rounds, 0).value[0] & 1U;
  }
  return index;
}

}  // namespace stanley::random
