#pragma once

#include <xxhash.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace stanley {

/// 64-bit digest of bytes (XXH3), as it stands in checkpoints.
std::uint64_t digest(std::span<const std::byte> bytes);

/// The same of a text, in hexadecimal digits.
std::string digest_text(std::string_view bytes);

/// One digest for each of `count` equal parts of `bytes`: a rank's shards of an array.
std::vector<std::uint64_t> digest_parts(std::span<const std::byte> bytes, std::int64_t count);

/// The same for bytes that come in pieces, cut anywhere.
class PartDigester {
 public:
  /// For parts of `part_bytes` each.
  explicit PartDigester(std::size_t part_bytes);
  void feed(std::span<const std::byte> bytes);
  /// One digest for each part; the last one may not be whole.
  std::vector<std::uint64_t> digests() const;

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> state_;
  std::size_t part_bytes_;
  std::size_t filled_{0};
  std::vector<std::uint64_t> digests_;
};

}  // namespace stanley
