#pragma once

#include <cstdint>

namespace stanley {

/// One thread's part of work on one block of states: all of it, or some rows of each step where
/// several threads do it together.
struct Share {
  std::int64_t rank = 0, size = 1;
  bool together = false;

  /// Of `rows` rows: from first() to before end().
  std::int64_t first(std::int64_t rows) const { return rows * rank / size; }
  std::int64_t end(std::int64_t rows) const { return rows * (rank + 1) / size; }

  /// Waits for what the others make in this step. All threads of a parallel region take as many
  /// steps, whichever block they work on.
  void meet() const {
    if (together) {
#pragma omp barrier
    }
  }
};

}  // namespace stanley
