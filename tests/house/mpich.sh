#!/usr/bin/env bash
# A short part with MPICH in Open MPI's place: ranks talk and write together. With --program (tests/long/mpich.sh), which
# compiles all that uses LibTorch once more: a training is interrupted and goes on, and what is refused is told by
# one rank, in one sentence and with its exit code.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
for program in mpicxx.mpich mpirun.mpich h5pcc.mpich; do
  command -v "$program" >/dev/null || {
    echo "no $program: tools/setup.sh --tests installs MPICH and its HDF5 on Debian"
    exit 77
  }
done

# The words of the release preset: ccache has compiled half of it.
cmake --preset mpich -DBUILD_TESTING=ON -DSTANLEY_WERROR=ON -DCMAKE_UNITY_BUILD="${STANLEY_UNITY_BUILD:-OFF}" >/dev/null
cmake --build --preset mpich --target mpi_tests
export OMP_NUM_THREADS=1
for ranks in 1 2; do # more than there are cores spin for minutes: tests/long/mpich.sh
  mpirun.mpich -n "$ranks" .build/mpich/tests/mpi_tests --gtest_brief=1
done

if [ "${1:-}" != --program ]; then
  echo "MPICH: ranks talk and write together"
  exit
fi

cmake --build --preset mpich --target stanley
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
train=(.build/mpich/stanley train configs/smoke.yaml --run-directory "$folder/run")

expect() { # EXIT_CODE COMMAND...: its stderr is left in $folder/said
  local wanted=$1 code=0
  shift
  "$@" >"$folder/output" 2>"$folder/said" </dev/null || code=$?
  [ "$code" -eq "$wanted" ] || {
    echo "exit code $code and not $wanted of: $*"
    cat "$folder/output" "$folder/said"
    exit 1
  }
}

one_sentence() { # WORDS: which stderr has, in one line and no other
  if [ "$(grep -c '' "$folder/said")" -ne 1 ] || ! grep -qF -- "$1" "$folder/said"; then
    echo "not one sentence with '$1':"
    cat "$folder/said"
    exit 1
  fi
}

expect 0 mpirun.mpich -n 2 "${train[@]}" --set run.iterations=10
expect 0 mpirun.mpich -n 2 "${train[@]}" --set run.iterations=20
grep -q 'MPICH' "$folder/run/run.json"
expect 0 mpirun.mpich -n 2 .build/mpich/stanley inspect "$folder/run"

expect 2 mpirun.mpich -n 2 "${train[@]}" --set run.sede=3
grep -q 'run.seed' "$folder/said"
expect 5 mpirun.mpich -n 2 "${train[@]}" --set run.iterations=30 --resume "$folder/none.h5"
one_sentence "$folder/none.h5"
expect 3 env SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=0 "${train[@]}"
one_sentence 'SLURM_STEP_NUM_TASKS=2'
expect 0 env SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=0 STANLEY_MPI=no "${train[@]}" --set run.iterations=22
if command -v mpirun.openmpi >/dev/null; then # an mpirun that this MPI doesn't know
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  expect 3 mpirun.openmpi --quiet --oversubscribe -n 2 "${train[@]}"
  one_sentence 'OMPI_COMM_WORLD_SIZE=2'
fi
echo "MPICH: ranks talk, a training goes on, refusals are told"
