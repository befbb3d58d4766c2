#include "evaluation/row_progress.hpp"

#include <fmt/format.h>

namespace stanley {

void RowProgress::operator()(std::int64_t done, std::int64_t mine) {
  passed_ += watch_.lap();
  if (passed_ < due_) return;
  due_ = passed_ + 5;
  const double rate = static_cast<double>(done) / passed_;
  log_.info(fmt::format("{}: {} of {} | {:.0f}/s | {} left", what_, done * ranks_, mine * ranks_,
                        rate * ranks_, duration_text(static_cast<double>(mine - done) / rate)));
}

}  // namespace stanley
