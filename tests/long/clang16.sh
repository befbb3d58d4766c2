#!/usr/bin/env bash
# The oldest Clang that can build stanley does so without a warning, and what it built passes the unit tests. Its OpenMP
# (libomp) stands beside LibTorch's (libgomp) in one process: each has threads of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
command -v clang++-16 >/dev/null || {
  echo "no clang++-16: on Debian 12 the packages clang-16 and libomp-16-dev"
  exit 77
}
cmake --preset release -B .build/clang16 -DCMAKE_CXX_COMPILER=clang++-16 -DCMAKE_C_COMPILER=clang-16 -DBUILD_TESTING=ON \
  -DSTANLEY_WERROR=ON -DCMAKE_UNITY_BUILD="${STANLEY_UNITY_BUILD:-OFF}"
cmake --build .build/clang16 --target stanley unit_tests unit_tests_torch
ctest --test-dir .build/clang16 --output-on-failure --label-regex '^unit$'
