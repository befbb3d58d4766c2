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

# How many this process may use. OpenMP's variables, which limit nproc, are about the threads of a rank.
processors() { env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc; }

built_elsewhere() { # PRESET: its build folder came here with a copy of the checkout, and CMake refuses it
  local cache=.build/$1/CMakeCache.txt made_for
  [ -f "$cache" ] || return 1
  made_for=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$cache")
  [ -n "$made_for" ] && ! [ "$made_for" -ef . ]
}

build() { # [-D... ...] TARGET...: configures the release preset with these definitions, and builds these targets
  local definitions=()
  while [[ ${1:-} == -D* ]]; do
    definitions+=("$1")
    shift
  done
  local fresh=()
  if built_elsewhere release; then
    echo "the checkout was copied or moved here after it was built: builds anew"
    fresh=(--fresh)
  fi
  mkdir -p .build
  cmake --preset release "${fresh[@]}" "${definitions[@]}" >.build/configure.log 2>&1 || {
    tail -n 30 .build/configure.log >&2
    give_up 3 "'cmake --preset release' failed (all of it: .build/configure.log)"
  }
  cmake --build --preset release --target "$@" || give_up 70 "the build failed: see above"
}
