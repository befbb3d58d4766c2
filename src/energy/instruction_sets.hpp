#pragma once

// Kernels are compiled for three instruction sets on x86-64: AVX-512 and AVX2, both with fused
// multiply-add (its levels v4 and v3), and what every such processor has; the widest that the
// processor has is taken at run time. On other processors there is the one that the build names.

#if defined(__x86_64__)
#define STANLEY_X86_64 1

#if defined(__clang__) || __GNUC__ >= 12
#define STANLEY_V4 "arch=x86-64-v4"
#define STANLEY_V3 "arch=x86-64-v3"
#define STANLEY_CLONE_V4 STANLEY_V4
#define STANLEY_CLONE_V3 STANLEY_V3
#else  // GCC 11 doesn't know the levels; its clones have one extension each
#define STANLEY_V3 "avx2,fma,bmi,bmi2,f16c,lzcnt,movbe,popcnt"
#define STANLEY_V4 STANLEY_V3 ",avx512f,avx512bw,avx512cd,avx512dq,avx512vl"
#define STANLEY_CLONE_V4 "avx512f"
#define STANLEY_CLONE_V3 "avx2"
#endif

/// Before a function that is a loop: compiled for the three sets, of which the loader picks one.
#define STANLEY_CLONES __attribute__((target_clones(STANLEY_CLONE_V4, STANLEY_CLONE_V3, "default")))

#else
#define STANLEY_CLONES
#endif

#if defined(__clang__)  // -O3 is what its Release build has anyway
#define STANLEY_O3
#else
#define STANLEY_O3 __attribute__((optimize("O3")))
#endif

#define STANLEY_ALWAYS_INLINE __attribute__((always_inline))
#define STANLEY_INLINE inline STANLEY_ALWAYS_INLINE

namespace stanley {

enum class InstructionSet { plain, v3, v4 };

/// The widest that this processor has.
inline InstructionSet instruction_set() {
#if !defined(STANLEY_X86_64)
  return InstructionSet::plain;
#elif defined(__clang__) || __GNUC__ >= 12
  if (__builtin_cpu_supports("x86-64-v4")) return InstructionSet::v4;
  return __builtin_cpu_supports("x86-64-v3") ? InstructionSet::v3 : InstructionSet::plain;
#else
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  return v4 ? InstructionSet::v4 : v3 ? InstructionSet::v3 : InstructionSet::plain;
#endif
}

/// Whether it has AVX-512's instructions that round floats to bfloat16.
inline bool rounds_to_bfloat16() {
#if defined(STANLEY_X86_64)
  return instruction_set() == InstructionSet::v4 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

}  // namespace stanley
