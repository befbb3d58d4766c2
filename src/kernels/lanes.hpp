#pragma once

#include <cstdint>

namespace stanley {

/// What an image's channels are filled up to a multiple of: whole vectors of any length.
constexpr std::int64_t lanes = 16;

/// `count` rounded up to whole vectors.
constexpr std::int64_t whole_lanes(std::int64_t count) {
  return (count + lanes - 1) / lanes * lanes;
}

}  // namespace stanley
