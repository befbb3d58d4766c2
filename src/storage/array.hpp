#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace stanley {

// element_bytes(), to_string(), hdf5.cpp and compare_checkpoints.cpp have tables in this order.
enum class ElementType { float32, float64, int32, int64, uint8, uint64 };

std::size_t element_bytes(ElementType type);
const char* to_string(ElementType type);
/// "(16, 1, 3, 3)", for messages.
std::string shape_text(const std::vector<std::int64_t>& shape);

/// A number as a file has it.
using Number = std::variant<std::int64_t, double>;

/// A named array as it crosses from one room to another: state, weights, counters. It owns
/// nothing. A replicated array is whole on each rank; a sharded one is dealt by its first dimension
/// over `shards` equal shards, of which this rank holds `shard_count` neighbours.
struct ArrayView {
  std::string name{};  ///< a path without a leading slash: "chains/state"
  ElementType type{ElementType::float32};
  std::vector<std::int64_t> shape{};  ///< of the whole array, over all ranks
  void* data{nullptr};                ///< this rank's part, contiguous, in the host's memory
  std::int64_t shards{0};             ///< 0: replicated (rank 0 writes, all ranks read)
  std::int64_t first_shard{0};
  std::int64_t shard_count{0};
  /// Names of the dimensions in a file; empty: storage names them (chain, channel, ...).
  std::vector<std::string> dimensions{};
  /// Where the part lies in a device's memory: `data` is null, and these copy it from there to the
  /// host and back.
  std::function<void(void* to)> copy_out{};
  std::function<void(const void* from)> copy_in{};
};

/// Bytes of one index of the first dimension; of the element for an array without dimensions.
std::size_t row_bytes(ElementType type, const std::vector<std::int64_t>& shape);
/// Bytes of all elements; none if an extent is negative or the number is not one of 63 bits, as in
/// a file that wasn't made honestly.
std::optional<std::int64_t> total_bytes(std::size_t element_bytes,
                                        const std::vector<std::int64_t>& shape);
/// Extent of the first dimension; 1 for an array without dimensions.
std::int64_t row_count(const std::vector<std::int64_t>& shape);
/// Bytes at `view.data`: this rank's shards, or all of a replicated array.
std::size_t local_bytes(const ArrayView& view);

/// A copy of arrays that stays still while the originals move on, for a writer in another thread.
/// Keeps its memory from one snapshot to the next.
class Snapshot {
 public:
  /// Copies what the views show.
  void take(const std::vector<ArrayView>& arrays);
  /// The copies, under the same names. Valid until the next take().
  const std::vector<ArrayView>& arrays() const { return arrays_; }

 private:
  std::vector<ArrayView> arrays_;
  std::vector<std::vector<std::byte>> buffers_;
};

/// Arrays to be filled from a file: in place, or on the host first where they lie on a device.
class Filling {
 public:
  explicit Filling(std::vector<ArrayView> arrays);
  /// All of them in the host's memory.
  const std::vector<ArrayView>& arrays() const { return arrays_; }
  /// Hands what was filled to the device.
  void finish();

 private:
  std::vector<ArrayView> arrays_;
  std::vector<std::vector<std::byte>> buffers_;
};

}  // namespace stanley
