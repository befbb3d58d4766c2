#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <stop_token>
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
        thread_([this](const std::stop_token& end) { run(end); }) {}
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

 private:
  void run(const std::stop_token& end) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any never;
    for (;;) {
      never.wait_for(lock, end, every_, [] { return false; });
      if (end.stop_requested()) return;
      try {
        tick_();
      } catch (const std::exception& error) {
        try {
          failed_(error);
        } catch (...) {  // without memory, even telling fails: the thread ends, not the process
        }
        return;
      }
    }
  }

  std::chrono::milliseconds every_;
  std::function<void()> tick_;
  std::function<void(const std::exception&)> failed_;
  std::jthread thread_;  // last: it uses what stands above
};

}  // namespace stanley
