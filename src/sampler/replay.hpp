#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>

namespace stanley {

/// Work that is done again and again on the same memory. On a GPU it is recorded as a CUDA graph,
/// so that its many small kernels start without the host; elsewhere it is simply called.
class Replay {
 public:
  /// Queues what work() queues, which must be the same each time: the same kernels at the same
  /// addresses, nothing waited for. The first time work() is called, so that libraries set
  /// themselves up; the second time it is recorded; from then on only the record is played.
  void run(c10::Device device, const std::function<void()>& work);

 private:
  struct Recording;
  std::shared_ptr<Recording> recording_;  // shared, since only replay.cpp knows the type
  bool warm_ = false;
};

}  // namespace stanley
