# shellcheck shell=bash
# What the scripts of jobs/ and tests/run.sh share. Source it from the repository's root; after
# `total_steps=N`, for `step`.
steps_begun=0

elapsed() { printf '%d:%02d' $((SECONDS / 60)) $((SECONDS % 60)); }

step() { # WHAT: says which step begins, and when
  steps_begun=$((steps_begun + 1))
  printf '\n[%d/%d, %s] %s\n' "$steps_begun" "${total_steps:?}" "$(elapsed)" "$*"
}

give_up() { # EXIT_CODE WHAT
  local code=$1
  shift
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit "$code"
}

build() { # TARGET...: configures the release preset and builds these targets
  mkdir -p .build
  cmake --preset release >.build/configure.log 2>&1 || {
    tail -n 30 .build/configure.log >&2
    give_up 3 "'cmake --preset release' failed (all of it: .build/configure.log)"
  }
  cmake --build --preset release --target "$@" || give_up 70 "the build failed: see above"
}
