#!/usr/bin/env bash
# The cuda preset compiles and links wherever there is an nvcc; running it needs a GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if ! command -v nvcc >/dev/null; then
  echo "skipped: no nvcc, so the cuda preset was not built"
  exit 77
fi
tools/setup.sh --cuda
# The words of the release preset: ccache has compiled most of it.
cmake --preset cuda -DSTANLEY_WERROR=ON -DCMAKE_UNITY_BUILD="${STANLEY_UNITY_BUILD:-OFF}"
cmake --build --preset cuda --target stanley

# Without a driver, asking for the GPU is an error of the environment.
if [ ! -e /dev/nvidiactl ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  code=0
  .build/cuda/stanley train configs/smoke.yaml --set run.device=cuda \
    --run-directory "$folder/run" || code=$?
  [ "$code" -eq 3 ] || {
    echo "without a driver, run.device=cuda ended with exit code $code instead of 3" >&2
    exit 1
  }
fi
