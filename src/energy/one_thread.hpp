#pragma once

#include <omp.h>

namespace stanley {

/// While it lives, libraries called by this thread don't share their work out over others: each row
/// of a product is then added up in the same order whatever the number of threads. A parallel
/// region of a single thread needs it too, because oneDNN takes that for none.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

}  // namespace stanley
