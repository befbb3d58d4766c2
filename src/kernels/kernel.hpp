#pragma once

#include <array>
#include <cstddef>

#include "kernels/instruction_sets.hpp"

namespace stanley {

/// A function with a variant for each instruction set: a call takes that of the set that kernels
/// take. One source (kernels/vectors/) is compiled once for each set, or there is one of its own.
template <typename Function>
class Kernel;

template <typename Result, typename... Arguments>
class Kernel<Result(Arguments...)> {
 public:
  using Variant = Result (*)(Arguments...);

  /// In the order of the sets; null, or left out: as in the set before.
  template <typename... Others>
  constexpr explicit Kernel(Variant plain, Others... others) : variants_{plain, others...} {}

  Variant of(InstructionSet set) const {
    auto i = static_cast<std::size_t>(set);
    while (variants_[i] == nullptr) --i;
    return variants_[i];
  }

  Result operator()(Arguments... arguments) const { return of(instruction_set())(arguments...); }

 private:
  std::array<Variant, instruction_set_count> variants_;
};

}  // namespace stanley

// A line of the table at the end of a kernel's header, after its declaration in the namespace
// `plain`: declares the variants, and the kernel that chooses among them.
// NOLINTBEGIN(bugprone-macro-parentheses): names, no expressions
#if defined(__x86_64__)
#define STANLEY_VARIANT(set, name) \
  namespace set {                  \
  decltype(plain::name) name;      \
  }
#define STANLEY_KERNEL(name) \
  STANLEY_VARIANT(v3, name)  \
  STANLEY_VARIANT(v4, name)  \
  inline constexpr Kernel<decltype(plain::name)> name(plain::name, v3::name, v4::name);
/// One of which AVX-512's bfloat16 makes another program.
#define STANLEY_BFLOAT16_KERNEL(name)                                                  \
  STANLEY_VARIANT(v3, name)                                                            \
  STANLEY_VARIANT(v4, name)                                                            \
  STANLEY_VARIANT(v4_bfloat16, name)                                                   \
  inline constexpr Kernel<decltype(plain::name)> name(plain::name, v3::name, v4::name, \
                                                      v4_bfloat16::name);
/// And one that AMX makes a third of.
#define STANLEY_AMX_KERNEL(name)                                                       \
  STANLEY_VARIANT(v3, name)                                                            \
  STANLEY_VARIANT(v4, name)                                                            \
  STANLEY_VARIANT(v4_bfloat16, name)                                                   \
  STANLEY_VARIANT(amx, name)                                                           \
  inline constexpr Kernel<decltype(plain::name)> name(plain::name, v3::name, v4::name, \
                                                      v4_bfloat16::name, amx::name);
#else
#define STANLEY_KERNEL(name) inline constexpr Kernel<decltype(plain::name)> name(plain::name);
#define STANLEY_BFLOAT16_KERNEL(name) STANLEY_KERNEL(name)
#define STANLEY_AMX_KERNEL(name) STANLEY_KERNEL(name)
#endif
// NOLINTEND(bugprone-macro-parentheses)
