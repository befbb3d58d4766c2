#include "storage/array.hpp"

#include <fmt/ranges.h>

#include <array>
#include <cstring>
#include <utility>

namespace stanley {

std::size_t element_bytes(ElementType type) {
  constexpr std::array<std::size_t, 6> bytes{4, 8, 4, 8, 1, 8};
  return bytes.at(static_cast<std::size_t>(type));
}

const char* to_string(ElementType type) {
  constexpr std::array names{"float32", "float64", "int32", "int64", "uint8", "uint64"};
  return names.at(static_cast<std::size_t>(type));
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

std::size_t row_bytes(ElementType type, const std::vector<std::int64_t>& shape) {
  std::size_t bytes = element_bytes(type);
  for (std::size_t i = 1; i < shape.size(); ++i) bytes *= static_cast<std::size_t>(shape[i]);
  return bytes;
}

std::optional<std::int64_t> total_bytes(std::size_t element_bytes,
                                        const std::vector<std::int64_t>& shape) {
  auto bytes = static_cast<std::int64_t>(element_bytes);
  for (const std::int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(bytes, extent, &bytes)) return std::nullopt;
  }
  return bytes;
}

std::int64_t row_count(const std::vector<std::int64_t>& shape) {
  return shape.empty() ? 1 : shape[0];
}

std::size_t local_bytes(const ArrayView& view) {
  const std::int64_t rows = view.shards == 0
                                ? row_count(view.shape)
                                : row_count(view.shape) / view.shards * view.shard_count;
  return static_cast<std::size_t>(rows) * row_bytes(view.type, view.shape);
}

void Snapshot::take(const std::vector<ArrayView>& arrays) {
  arrays_ = arrays;
  buffers_.resize(arrays.size());
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    buffers_[i].resize(local_bytes(arrays[i]));
    if (arrays[i].copy_out) {
      arrays[i].copy_out(buffers_[i].data());
    } else if (!buffers_[i].empty()) {
      std::memcpy(buffers_[i].data(), arrays[i].data, buffers_[i].size());
    }
    arrays_[i].data = buffers_[i].data();
    arrays_[i].copy_out = nullptr;
    arrays_[i].copy_in = nullptr;
  }
}

Filling::Filling(std::vector<ArrayView> arrays)
    : arrays_(std::move(arrays)), buffers_(arrays_.size()) {
  for (std::size_t i = 0; i < arrays_.size(); ++i) {
    if (!arrays_[i].copy_in) continue;
    buffers_[i].resize(local_bytes(arrays_[i]));
    arrays_[i].data = buffers_[i].data();
  }
}

void Filling::finish() {
  for (const ArrayView& array : arrays_) {
    if (array.copy_in) array.copy_in(array.data);
  }
}

}  // namespace stanley
