#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "parallel/communicator.hpp"

namespace stanley {

/// One array of two checkpoints, compared bit by bit: a NaN equals a NaN of the same bits.
struct ArrayDifference {
  std::string name{};
  /// Why there is nothing to compare, in words: it is in one file alone, or of another type or
  /// shape. Empty where the values were compared.
  std::string mismatch{};
  std::int64_t elements{0};   ///< that were compared
  std::int64_t differing{0};  ///< those of them whose bits differ
  /// Largest absolute difference of those, infinite where one side alone is NaN, 0 where the bits
  /// differ and the numbers don't (0 and -0); and the index of the first element that has it.
  double largest{0};
  std::vector<std::int64_t> index{};

  bool equal() const { return mismatch.empty() && differing == 0; }
};

/// A progress value that differs, as text; "none" where a file lacks it.
struct ProgressDifference {
  std::string name{};
  std::string first{};
  std::string second{};
  bool clock{false};  ///< it depends on how fast the run went: no difference that counts
};

struct CheckpointDifference {
  std::int64_t first_iteration{0}, second_iteration{0};
  std::int64_t first_world_size{0}, second_world_size{0};  ///< no difference that counts
  std::vector<ArrayDifference> arrays{};       ///< of either file, in alphabetical order
  std::vector<ProgressDifference> progress{};  ///< those that differ
  std::vector<std::string> texts{};  ///< names of those that differ (config, ...); don't count

  std::int64_t differing_arrays() const;
  /// Without clocks.
  std::int64_t differing_progress() const;
  bool equal() const { return differing_arrays() == 0 && differing_progress() == 0; }
};

/// Collective. Compares two checkpoints, the blocks of their arrays dealt over the ranks, reading
/// at most `block_bytes` of each at a time. It doesn't look at digests. Errors: input_output on all
/// ranks where one of the files can't be read.
CheckpointDifference compare_checkpoints(Communicator& communicator, const std::string& one,
                                         const std::string& other,
                                         std::size_t block_bytes = std::size_t{4} << 20);

}  // namespace stanley
