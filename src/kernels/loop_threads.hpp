#pragma once

namespace stanley {

/// The threads of our own loops over states and chains, which name it at each loop: OpenMP's number
/// is LibTorch's too, and LibTorch resets it. One for the process, like OpenMP's; 1 until
/// use_loop_threads() says otherwise. No number that we compute depends on it.
int loop_threads();
void use_loop_threads(int threads);

/// Another number of threads while it lives.
class LoopThreads {
 public:
  explicit LoopThreads(int threads) : before_(loop_threads()) { use_loop_threads(threads); }
  ~LoopThreads() { use_loop_threads(before_); }
  LoopThreads(const LoopThreads&) = delete;
  LoopThreads& operator=(const LoopThreads&) = delete;

 private:
  int before_;
};

}  // namespace stanley
