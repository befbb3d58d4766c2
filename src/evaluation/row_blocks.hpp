#pragma once

#include <cstdint>
#include <functional>

#include "parallel/communicator.hpp"

namespace stanley {

/// While it lives, LibTorch computes on one thread of each of ours: what it makes of a block
/// depends on its threads, even where it gets no more than one.
class OneThreadEach {
 public:
  OneThreadEach();
  ~OneThreadEach();
  OneThreadEach(const OneThreadEach&) = delete;
  OneThreadEach& operator=(const OneThreadEach&) = delete;

 private:
  int before_;
};

/// Neighbouring rows of a matrix.
struct RowBlock {
  std::int64_t first = 0, count = 0;

  std::int64_t end() const { return first + count; }
};

/// Called now and then, by one thread at a time, with the rows that are done on this rank, and of
/// how many.
using RowsDone = std::function<void(std::int64_t done, std::int64_t all)>;
/// Makes what is told of the rows of a part, by its name, a literal.
using ProgressOf = std::function<RowsDone(const char* what)>;

/// Cuts `rows` into blocks of `at_once`, deals them over the ranks in turn, and calls `step` with
/// each of this rank's, on loop_threads() threads at once, LibTorch on one of its own in each: what
/// a step computes depends neither on ranks nor on threads. Not collective; throws what a step
/// threw first.
void for_each_row_block(std::int64_t rows, std::int64_t at_once, const Communicator& communicator,
                        const std::function<void(const RowBlock&)>& step,
                        const RowsDone& done = {});

}  // namespace stanley
