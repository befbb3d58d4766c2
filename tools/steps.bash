# shellcheck shell=bash
# What the scripts of jobs/ and tests/run.sh share: where stanley is, and how they speak. For `step`, set
# total_steps=N.
# shellcheck disable=SC2034 # others read what is set here

# A checkout, or a tree that `cmake --install` made: that one may be read-only and has nothing to set up or build.
STANLEY_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export STANLEY_HOME
if [ -x "$STANLEY_HOME/bin/stanley" ]; then
  installed=true
  program_cpu=$STANLEY_HOME/bin/stanley program_cuda=$STANLEY_HOME/bin/stanley
  python_of_tools=python3 # tools/environment.py shows it the tree's packages
else
  installed=false
  program_cpu=.build/release/stanley program_cuda=.build/cuda/stanley
  python_of_tools=.deps/venv/bin/python
fi

# Relative paths begin at a checkout's root. Who uses an installed tree has folders of their own.
enter() { # sets started_in
  started_in=$PWD
  $installed || cd "$STANLEY_HOME" || exit
}

# A file as it was typed: from where the person stands, from here, or from stanley's own folder.
find_file() { # NAME
  local folder
  for folder in "${started_in:-.}" . "$STANLEY_HOME"; do
    if [ -f "$folder/$1" ] && [[ $1 != /* ]]; then
      realpath -s --relative-base=. "$folder/$1"
      return
    fi
  done
  printf '%s\n' "$1"
}

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

# Prints what `stanley train` with these arguments would take, as `stanley config` says it. QUESTION is one of its
# options; of the others, those about the configuration are handed on. `program` is the command of stanley.
ask_program() { # QUESTION CONFIG [OPTIONS of stanley train]
  local question=$1 config=$2 arguments=()
  shift 2
  while [ $# -gt 0 ]; do
    case $1 in
      --set=* | --run-directory=*) arguments+=("$1") ;;
      --set | --run-directory)
        arguments+=("${@:1:2}")
        shift
        ;;
    esac
    [ $# -eq 0 ] || shift
  done
  # shellcheck disable=SC2154 # who calls this has set it
  "${program[@]}" config "$config" "${arguments[@]}" "$question"
}

# Waits for a child's end. A signal ends `wait` before that: a trap after which the script goes on sets
# interrupted=true.
await() { # PROCESS: sets exit_code
  interrupted=true
  while $interrupted; do
    interrupted=false
    wait "$1" && exit_code=0 || exit_code=$?
  done
}

# How many this process may use. OpenMP's variables, which limit nproc, are about the threads of a rank.
processors() { env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc; }

# Whose mpirun that is, for its options: openmpi, mpich (its Hydra, MVAPICH's too), or other.
mpirun_kind() { # MPIRUN
  case $("$1" --version 2>&1 </dev/null || true) in
    *"Open MPI"* | *OpenRTE* | *PRRTE* | *prterun*) echo openmpi ;;
    *HYDRA*) echo mpich ;;
    *) echo other ;;
  esac
}

# What starts so many ranks on this machine, each on so many cores of its own; 0: they share all cores.
# STANLEY_MPIRUN names the mpirun of the MPI that stanley was built with, if it isn't the one in PATH.
choose_mpirun() { # RANKS CORES: sets launch and mpirun_is
  local mpirun=${STANLEY_MPIRUN:-mpirun}
  command -v "$mpirun" >/dev/null || give_up 3 "there is no $mpirun: load the MPI that stanley was built with"
  mpirun_is=$(mpirun_kind "$mpirun")
  launch=("$mpirun" -n "$1")
  case $mpirun_is in
    openmpi)
      # Or Open MPI 4 comments on every exit code but 0. 5 does so anyway, and its mpirun refuses --quiet.
      export OMPI_MCA_orte_execute_quiet=1
      if [ "$2" -gt 0 ]; then
        launch+=(--map-by "slot:PE=$2" --bind-to core)
      else
        launch+=(--oversubscribe --bind-to none)
      fi
      if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
      ;;
    mpich) [ "$2" -eq 0 ] || launch+=(-bind-to "core:$2") ;;
  esac
}

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
  # From nothing, several files at once: half the time. What is there already stays as it was configured.
  [ -f .build/release/CMakeCache.txt ] || definitions+=(-DCMAKE_UNITY_BUILD=ON)
  mkdir -p .build
  cmake --preset release "${fresh[@]}" "${definitions[@]}" >.build/configure.log 2>&1 || {
    tail -n 30 .build/configure.log >&2
    give_up 3 "'cmake --preset release' failed (all of it: .build/configure.log)"
  }
  cmake --build --preset release --target "$@" || give_up 70 "the build failed: see above"
}
