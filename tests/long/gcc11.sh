#!/usr/bin/env bash
# The oldest GCC that can build stanley does so without a warning, and what it built passes the unit and MPI tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
command -v g++-11 >/dev/null || {
  echo "no g++-11: tools/setup.sh --tests installs it on Debian 12"
  exit 77
}
cmake --preset release -B .build/gcc11 -DCMAKE_CXX_COMPILER=g++-11 -DCMAKE_C_COMPILER=gcc-11 -DBUILD_TESTING=ON \
  -DSTANLEY_WERROR=ON -DCMAKE_UNITY_BUILD="${STANLEY_UNITY_BUILD:-OFF}"
cmake --build .build/gcc11
ctest --test-dir .build/gcc11 --output-on-failure --label-regex '^(unit|mpi)$'
