# Which compilers can build this, and how they compile our own code.

# The oldest that have what it uses of C++20.
set(oldest_GNU 11)
set(oldest_Clang 16)
set(oldest ${oldest_${CMAKE_CXX_COMPILER_ID}})
if(NOT oldest)
  message(WARNING "stanley was never built with ${CMAKE_CXX_COMPILER_ID} (${CMAKE_CXX_COMPILER}), but with GNU and Clang")
elseif(CMAKE_CXX_COMPILER_VERSION VERSION_LESS oldest)
  message(FATAL_ERROR "${CMAKE_CXX_COMPILER} is ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}, and stanley "
    "needs at least ${oldest}: load a newer one, or name it (CXX, CMAKE_CXX_COMPILER), and start over with `cmake --fresh`")
endif()

# No contraction: a fused multiply-add is written where it is meant, so that every vector width and every compiler
# gives the same bits. -Wrestrict is wrong about std::string in GCC 12, and what a designated initialiser leaves
# out is meant to have its default.
set(STANLEY_CXX_OPTIONS -Wall -Wextra -Wshadow -Wconversion -Wno-restrict -Wno-missing-field-initializers
  -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL Clang)
  list(APPEND STANLEY_CXX_OPTIONS -Wno-unknown-warning-option -Wno-unknown-attributes)
endif()
if(STANLEY_WERROR)
  list(APPEND STANLEY_CXX_OPTIONS -Werror)
endif()

# Vector kernels: fused operations pay off, and so do the 512 bits that compilers shun by default.
set(STANLEY_KERNEL_OPTIONS -ffp-contract=fast)
# What they are compiled for (src/kernels/instruction_sets.hpp), and how.
set(STANLEY_INSTRUCTION_SETS plain)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND STANLEY_KERNEL_OPTIONS -mprefer-vector-width=512)
  list(APPEND STANLEY_INSTRUCTION_SETS v3 v4 v4_bfloat16)
  set(STANLEY_OPTIONS_v3 -march=x86-64-v3)
  set(STANLEY_OPTIONS_v4 -march=x86-64-v4)
  set(STANLEY_OPTIONS_v4_bfloat16 -march=x86-64-v4 -mavx512bf16)
endif()
