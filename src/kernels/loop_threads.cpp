#include "kernels/loop_threads.hpp"

#include <atomic>

namespace stanley {
namespace {

std::atomic<int> number = 1;

}  // namespace

int loop_threads() { return number; }

void use_loop_threads(int threads) { number = threads; }

}  // namespace stanley
