#include "run/writer.hpp"

#include <utility>

namespace stanley {

Writer::Writer(const Communicator& communicator, bool beside)
    : beside_(beside),
      communicator_(communicator.duplicate(beside ? Waiting::sleep : Waiting::spin)) {
  if (beside_) thread_ = std::thread([this] { work(); });
}

Writer::~Writer() {
  if (!beside_) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Writer::submit(Job job) {
  wait();
  if (!beside_) return job(*communicator_);
  {
    const std::lock_guard lock(mutex_);
    job_ = std::move(job);
  }
  changed_.notify_all();
}

void Writer::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !job_; });
  failed_ = false;
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void Writer::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || job_; });
    if (!job_) return;
    lock.unlock();
    std::exception_ptr failure;
    try {
      job_(*communicator_);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    failure_ = failure;
    failed_ = failure != nullptr;
    job_ = nullptr;
    changed_.notify_all();
  }
}

}  // namespace stanley
