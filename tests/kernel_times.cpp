#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string_view>

#include "kernel_cases.hpp"
#include "kernels/instruction_sets.hpp"

// Times each kernel with each instruction set of this processor: nanoseconds of one call on data in
// the cache, the least of many rounds. usage: kernel_times [PART OF A KERNEL'S NAME]
namespace {

double nanoseconds(const std::function<void()>& call) {
  using Clock = std::chrono::steady_clock;
  constexpr int rounds = 40;
  double best = 1e300;
  int calls = 1;
  for (int round = 0; round < rounds;) {
    const auto start = Clock::now();
    for (int i = 0; i < calls; ++i) call();
    const double taken = std::chrono::duration<double, std::nano>(Clock::now() - start).count();
    if (taken < 2e5) {  // too short for the clock
      calls *= 2;
      continue;
    }
    best = std::min(best, taken / calls);
    ++round;
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace stanley;
  const std::string_view part = argc > 1 ? argv[1] : "";
  const auto sets = processor_instruction_sets();
  fmt::print("{:<24}", "ns for a call");
  for (const InstructionSet set : sets) fmt::print("{:>12}", name_of(set));
  fmt::print("  plain / widest\n");
  for (std::size_t i = 0; i < make_kernel_cases().size(); ++i) {
    if (make_kernel_cases()[i].name.find(part) == std::string::npos) continue;
    fmt::print("{:<24}", make_kernel_cases()[i].name);
    double first = 0, last = 0;
    for (const InstructionSet set : sets) {
      const ForcedInstructionSet forced(set);
      last = nanoseconds(make_kernel_cases()[i].call);
      if (first == 0) first = last;
      fmt::print("{:>12.0f}", last);
    }
    fmt::print("{:>10.2f}\n", first / last);
  }
}
