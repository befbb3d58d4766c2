#!/usr/bin/env bash
# clang-tidy with the checks of .clang-tidy on the rooms that do without LibTorch (with it, one
# file takes a minute), each room as one source. usage: tests/house/tidy.sh BUILD_FOLDER
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=${1:-.build/release}
printf '%s\0' "$build"/tests/rooms/*.cpp |
  xargs -0 -P "$(nproc)" -n 1 clang-tidy -p "$build" --quiet \
    --extra-arg=-Wno-unknown-warning-option # the flags are g++'s
