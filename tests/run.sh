#!/usr/bin/env bash
# Sets up, builds, and runs every test: unit, MPI, program, tools, and the rules of the house.
# usage: tests/run.sh [ctest options], for example tests/run.sh -L unit
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
total_steps=3
. tools/steps.sh

step "set-up"
options=(--tests)
command -v nvcc >/dev/null && options+=(--cuda)
tools/setup.sh "${options[@]}"

step "build"
build -DBUILD_TESTING=ON -DSTANLEY_WERROR=ON all

step "tests"
ctest --preset release --output-on-failure --parallel "$(processors)" "$@" 2>&1 |
  .deps/venv/bin/python -B tests/skipped.py .build/release/Testing/Temporary/LastTest.log
