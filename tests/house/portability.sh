#!/usr/bin/env bash
# Compiles what other compilers, processors and libraries would stumble over first: the vector kernels with the oldest
# GCC that can build this and for 64-bit Arm, and the calls that HDF5 1.12 changed.
# usage: tests/house/portability.sh [COMPILER...]: those that are there of g++-11 and aarch64-linux-gnu-g++
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ $# -gt 0 ] || set -- g++-11 aarch64-linux-gnu-g++

object=$(mktemp)
trap 'rm -f "$object"' EXIT
try() { # COMPILER SOURCE [OPTIONS]
  local compiler=$1 source=$2
  shift 2
  echo "$compiler $source $*"
  "$compiler" -std=c++20 -O2 -fopenmp -Wall -Wextra -Werror -Isrc "$@" -c "$source" -o "$object"
}
tried=0
for compiler in "$@"; do
  if ! command -v "$compiler" >/dev/null; then
    echo "not tried, for it isn't there: $compiler"
    continue
  fi
  tried=$((tried + 1))
  for source in src/kernels/*.cpp; do try "$compiler" "$source"; done
  for source in src/kernels/vectors/*.cpp; do
    case $compiler in
      *aarch64*) try "$compiler" "$source" -DSTANLEY_SET=plain ;;
      *) try "$compiler" "$source" -DSTANLEY_SET=v4_bfloat16 -march=x86-64-v4 -mavx512bf16 ;;
    esac
  done
done
echo "HDF5 1.12 and later"
"${CXX:-g++}" -std=c++20 -Wall -Wextra -Werror -fsyntax-only -Itests/house/hdf5_of_today -Isrc \
  -include storage/hdf5_versions.hpp -x c++ /dev/null
[ "$tried" -gt 0 ] || {
  echo "skipped: none of these compilers is there: $*"
  exit 77
}
