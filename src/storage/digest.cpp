#include "storage/digest.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <new>

namespace stanley {

std::uint64_t digest(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::string digest_text(std::string_view bytes) {
  return fmt::format("{:016x}", digest(std::as_bytes(std::span(bytes))));
}

std::vector<std::uint64_t> digest_parts(std::span<const std::byte> bytes, std::int64_t count) {
  std::vector<std::uint64_t> digests;
  if (count == 0) return digests;
  const std::size_t part = bytes.size() / static_cast<std::size_t>(count);
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    digests.push_back(digest(bytes.subspan(i * part, part)));
  }
  return digests;
}

PartDigester::PartDigester(std::size_t part_bytes)
    : state_(XXH3_createState()), part_bytes_(part_bytes) {
  if (!state_) throw std::bad_alloc();
  XXH3_64bits_reset(state_.get());
}

void PartDigester::feed(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::size_t take = std::min(bytes.size(), part_bytes_ - filled_);
    XXH3_64bits_update(state_.get(), bytes.data(), take);
    bytes = bytes.subspan(take);
    filled_ += take;
    if (filled_ == part_bytes_) {
      digests_.push_back(XXH3_64bits_digest(state_.get()));
      XXH3_64bits_reset(state_.get());
      filled_ = 0;
    }
  }
}

std::vector<std::uint64_t> PartDigester::digests() const {
  std::vector<std::uint64_t> all = digests_;
  if (filled_ > 0) all.push_back(XXH3_64bits_digest(state_.get()));
  return all;
}

}  // namespace stanley
