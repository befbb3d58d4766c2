#pragma once

#include <vector>

namespace stanley {

/// What kernels are compiled for, each set with those before it: on x86-64 its levels v3 (AVX2) and
/// v4 (AVX-512), both with fused multiply-add; AVX-512's bfloat16; and AMX's tiles with bfloat16.
/// On other processors there is the plain set alone: what the build names.
enum class InstructionSet { plain, v3, v4, v4_bfloat16, amx };
constexpr int instruction_set_count = 5;

/// Its name: "v4_bfloat16".
const char* name_of(InstructionSet set);

/// All that this processor has, and the system lets this process use, from the plain one up.
std::vector<InstructionSet> processor_instruction_sets();

/// What kernels take: the widest, or what the environment variable STANLEY_ISA names. Throws
/// Error(environment) if that is no set, or one that the processor lacks.
InstructionSet instruction_set();

/// Another set while it lives, for tests: no kernel may run meanwhile in another thread.
class ForcedInstructionSet {
 public:
  explicit ForcedInstructionSet(InstructionSet set);
  ~ForcedInstructionSet();
  ForcedInstructionSet(const ForcedInstructionSet&) = delete;
  ForcedInstructionSet& operator=(const ForcedInstructionSet&) = delete;

 private:
  InstructionSet before_;
};

}  // namespace stanley
