#!/usr/bin/env bash
# The cuda preset compiles and links wherever there is an nvcc; running it needs a GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if ! command -v nvcc >/dev/null; then
  echo "skipped: no nvcc, so the cuda preset was not built"
  exit 77
fi
tools/setup.sh --cuda
cmake --preset cuda
cmake --build --preset cuda --target stanley
