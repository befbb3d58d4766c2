#!/usr/bin/env bash
# The unit tests of the rooms that do without LibTorch, alone, and their MPI tests on two ranks,
# under the address and undefined-behaviour sanitizers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# g++ 12 finds uninitialised variables in the standard library where sanitizers rewrote its code.
# Several files at once: their headers, which take most of the time, are read once.
cmake --preset sanitize -DCMAKE_CXX_FLAGS=-Wno-maybe-uninitialized -DCMAKE_UNITY_BUILD=ON
cmake --build --preset sanitize --target unit_tests mpi_tests
shards=()
for shard in 0 1; do # many wait for clocks
  GTEST_TOTAL_SHARDS=2 GTEST_SHARD_INDEX=$shard .build/sanitize/tests/unit_tests --gtest_brief=1 &
  shards+=($!)
done
for shard in "${shards[@]}"; do wait "$shard"; done
# Open MPI itself leaks at its end.
export ASAN_OPTIONS=detect_leaks=0
mpirun -n 2 .build/sanitize/tests/mpi_tests --gtest_brief=1
