#pragma once

#include <atomic>
#include <cstdint>

namespace stanley {

/// What a rank is doing, published by the thread that does it for whoever watches.
class Activity {
 public:
  /// Begins a phase ("chains", "reduction", ...). The name must live for ever: a literal.
  void enter(const char* phase) {
    phase_.store(phase, std::memory_order_relaxed);
    advance();
  }
  /// Something got done.
  void advance() { progress_.fetch_add(1, std::memory_order_relaxed); }

  const char* phase() const { return phase_.load(std::memory_order_relaxed); }
  std::int64_t progress() const { return progress_.load(std::memory_order_relaxed); }

 private:
  std::atomic<const char*> phase_{"start"};
  std::atomic<std::int64_t> progress_{0};
};

}  // namespace stanley
