#!/usr/bin/env bash
# Sets up, builds and tests. usage: tests/run.sh [--long] [ctest options], for example tests/run.sh -L unit
#   without --long  what CI runs: unit, MPI, program, tools, Slurm, and the rules of the house (half an hour at most)
#   --long          what takes longer instead: a hundred rounds of chaos, every test with MPICH (hours)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
total_steps=3
. tools/steps.bash

tier=release
if [ "${1:-}" = --long ]; then
  tier=long
  shift
fi

step "set-up"
options=(--tests)
command -v nvcc >/dev/null && options+=(--cuda)
tools/setup.sh "${options[@]}"

step "build"
build -DBUILD_TESTING=ON -DSTANLEY_WERROR=ON all

step "tests"
# One more than there are processors: many wait for launchers, disks and watchdogs.
ctest --preset "$tier" --output-on-failure --parallel "$(($(processors) + 1))" "$@" 2>&1 |
  .deps/venv/bin/python -B tests/skipped.py .build/release/Testing/Temporary/LastTest.log
