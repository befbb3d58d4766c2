#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace stanley {

/// A thread that does something every so often, until it goes: then it waits for what it is doing.
/// Where that throws, `failed` is called once, in this thread, and nothing is done any more.
class Ticker {
 public:
  Ticker(std::chrono::milliseconds every, std::function<void()> tick,
         std::function<void(const std::exception&)> failed)
      : every_(every),
        tick_(std::move(tick)),
        failed_(std::move(failed)),
        thread_([this] { run(); }) {}
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;
  ~Ticker() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, every_, [this] { return stopping_; })) {
      lock.unlock();
      try {
        tick_();
      } catch (const std::exception& error) {
        try {
          failed_(error);
        } catch (...) {  // without memory, even telling fails: the thread ends, not the process
        }
        return;
      }
      lock.lock();
    }
  }

  std::chrono::milliseconds every_;
  std::function<void()> tick_;
  std::function<void(const std::exception&)> failed_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace stanley
