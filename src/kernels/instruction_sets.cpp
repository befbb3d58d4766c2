#include "kernels/instruction_sets.hpp"

#include <array>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <string_view>

#include "config/error.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace stanley {
namespace {

constexpr std::array<const char*, instruction_set_count> names{"plain", "v3", "v4", "v4_bfloat16",
                                                               "amx"};

#if defined(__x86_64__)
// The levels of x86-64 by what tells them from those before: not all compilers know their names.
bool has_v3() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}
bool has_v4() {
  return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}

/// The system gives a process the tiles' registers when it asks for them.
bool has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned bfloat16 = 1U << 22, tile = 1U << 24;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  if ((d & bfloat16) == 0 || (d & tile) == 0) return false;
  constexpr long request_permission = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}
#endif

InstructionSet find_widest() {
#if defined(__x86_64__)
  if (!has_v3()) return InstructionSet::plain;
  if (!has_v4()) return InstructionSet::v3;
  if (!__builtin_cpu_supports("avx512bf16")) return InstructionSet::v4;
  return has_amx() ? InstructionSet::amx : InstructionSet::v4_bfloat16;
#else
  return InstructionSet::plain;
#endif
}

InstructionSet from_environment() {
  const char* const wanted = std::getenv("STANLEY_ISA");
  const auto sets = processor_instruction_sets();
  if (wanted == nullptr || *wanted == '\0') return sets.back();
  std::string there;
  for (const InstructionSet set : sets) {
    if (std::string_view(wanted) == name_of(set)) return set;
    there += (there.empty() ? "" : ", ") + std::string(name_of(set));
  }
  throw Error(ExitCode::environment, "STANLEY_ISA is '" + std::string(wanted) +
                                         "': this processor's instruction sets are " + there +
                                         "; name one of them, or unset it");
}

/// One for the process, as the processor is.
InstructionSet& chosen() {
  static InstructionSet set = from_environment();
  return set;
}

}  // namespace

const char* name_of(InstructionSet set) { return names.at(static_cast<std::size_t>(set)); }

std::vector<InstructionSet> processor_instruction_sets() {
  static const InstructionSet widest = find_widest();
  std::vector<InstructionSet> sets;
  for (int set = 0; set <= static_cast<int>(widest); ++set) {
    sets.push_back(static_cast<InstructionSet>(set));
  }
  return sets;
}

InstructionSet instruction_set() { return chosen(); }

ForcedInstructionSet::ForcedInstructionSet(InstructionSet set) : before_(chosen()) {
  chosen() = set;
}
ForcedInstructionSet::~ForcedInstructionSet() { chosen() = before_; }

}  // namespace stanley
