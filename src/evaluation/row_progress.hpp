#pragma once

#include <cstdint>

#include "run/log.hpp"
#include "run/stopwatch.hpp"

namespace stanley {

/// Says every few seconds how far the ranks have come with rows, as this one has (RowsDone).
class RowProgress {
 public:
  /// `what`, a literal, is done by `ranks` ranks, each of which has about as many rows.
  RowProgress(Log& log, const char* what, int ranks) : log_(log), what_(what), ranks_(ranks) {}

  void operator()(std::int64_t done, std::int64_t mine);

 private:
  Log& log_;
  const char* what_;
  int ranks_;
  Stopwatch watch_;
  double passed_ = 0, due_ = 5;  // seconds
};

}  // namespace stanley
