#!/usr/bin/env bash
# The C++ and CUDA sources are formatted as .clang-format says. `tests/house/format.sh -i` formats.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mode=(--dry-run --Werror)
[ "${1:-}" != -i ] || mode=(-i)
find src tests \( -name '*.[ch]pp' -o -name '*.cu' -o -name '*.cuh' \) -print0 |
  xargs -0 clang-format "${mode[@]}"
