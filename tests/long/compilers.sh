#!/usr/bin/env bash
# The oldest GCC and Clang that can build stanley do so without a warning, and what they built passes the unit and MPI
# tests. Clang's OpenMP (libomp) stands beside LibTorch's (libgomp) in one process: each has threads of its own.
# usage: tests/long/compilers.sh [VERSION...]: of "g++-11" and "clang++-16", all that are there
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ $# -gt 0 ] || set -- g++-11 clang++-16
tried=0
for compiler in "$@"; do
  if ! command -v "$compiler" >/dev/null; then
    echo "not tried, for it isn't there: $compiler (Debian 12 has g++-11, clang-16 with libomp-16-dev)"
    continue
  fi
  tried=$((tried + 1))
  for_c=${compiler/clang++/clang}
  folder=.build/$compiler
  cmake --preset release -B "$folder" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_C_COMPILER="${for_c/g++/gcc}" \
    -DBUILD_TESTING=ON -DSTANLEY_WERROR=ON -DCMAKE_UNITY_BUILD="${STANLEY_UNITY_BUILD:-OFF}"
  cmake --build "$folder"
  ctest --test-dir "$folder" --output-on-failure --label-regex '^(unit|mpi)$'
done
[ "$tried" -gt 0 ] || exit 77
