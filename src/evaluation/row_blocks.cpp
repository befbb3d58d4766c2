#include "evaluation/row_blocks.hpp"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

#include "kernels/loop_threads.hpp"

namespace stanley {

OneThreadEach::OneThreadEach() : before_(at::get_num_threads()) { at::set_num_threads(1); }
OneThreadEach::~OneThreadEach() { at::set_num_threads(before_); }

void for_each_row_block(std::int64_t rows, std::int64_t at_once, const Communicator& communicator,
                        const std::function<void(const RowBlock&)>& step, const RowsDone& done) {
  const std::int64_t blocks = (rows + at_once - 1) / at_once;
  const std::int64_t mine = (blocks - communicator.rank() + communicator.size() - 1) /
                            communicator.size();  // this rank's: rank, rank + size, ...
  std::atomic<std::int64_t> finished{0};
  std::exception_ptr failure;
  std::mutex mutex;
#pragma omp parallel for num_threads(loop_threads()) schedule(dynamic, 1)
  for (std::int64_t i = 0; i < mine; ++i) {
    const std::int64_t first = (communicator.rank() + i * communicator.size()) * at_once;
    try {
      const c10::InferenceMode no_gradient;  // a property of this thread
      step({first, std::min(at_once, rows - first)});
      ++finished;
      const std::lock_guard lock(mutex);
      if (done) done(finished * at_once, mine * at_once);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace stanley
