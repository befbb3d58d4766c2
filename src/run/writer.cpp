#include "run/writer.hpp"

#include <utility>

namespace stanley {

Writer::Writer(const Communicator& communicator, bool beside)
    : beside_(beside),
      communicator_(communicator.duplicate(beside ? Waiting::sleep : Waiting::spin)) {}

void Writer::submit(Job job) {
  wait();
  if (!beside_) return job(*communicator_);
  in_flight_ = std::async(std::launch::async, [this, job = std::move(job)]() mutable {
    try {
      std::exchange(job, nullptr)(*communicator_);  // what it holds goes as soon as it ends
    } catch (...) {
      failed_ = true;
      throw;
    }
  });
}

void Writer::wait() {
  if (!in_flight_.valid()) return;
  in_flight_.wait();
  failed_ = false;
  in_flight_.get();
}

}  // namespace stanley
