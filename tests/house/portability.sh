#!/usr/bin/env bash
# Compiles what other compilers, processors and libraries would stumble over first: the vector kernels with the oldest
# GCC that can build this and for 64-bit Arm, and the calls that HDF5 1.12 changed.
# usage: tests/house/portability.sh [COMPILER...]: those that are there of g++-11 and aarch64-linux-gnu-g++
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ $# -gt 0 ] || set -- g++-11 aarch64-linux-gnu-g++

mapfile -t kernels < <(grep -l 'STANLEY_VECTORIZED\|with_vectors\|with_bfloat16_vectors' src/energy/*.cpp |
  xargs grep -L 'torch\|ATen\|energy/energy.hpp\|gradient_engine')
[ "${#kernels[@]}" -ge 4 ] || {
  echo "no kernels were found: what marks them has changed" >&2
  exit 1
}
object=$(mktemp)
trap 'rm -f "$object"' EXIT
tried=0
for compiler in "$@"; do
  if ! command -v "$compiler" >/dev/null; then
    echo "not tried, for it isn't there: $compiler"
    continue
  fi
  tried=$((tried + 1))
  for kernel in "${kernels[@]}"; do
    echo "$compiler $kernel"
    "$compiler" -std=c++20 -O2 -fopenmp -Wall -Wextra -Werror -Isrc -c "$kernel" -o "$object"
  done
done
echo "HDF5 1.12 and later"
"${CXX:-g++}" -std=c++20 -Wall -Wextra -Werror -fsyntax-only -Itests/house/hdf5_of_today -Isrc \
  -include storage/hdf5_versions.hpp -x c++ /dev/null
[ "$tried" -gt 0 ] || {
  echo "skipped: none of these compilers is there: $*"
  exit 77
}
