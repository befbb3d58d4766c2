#!/usr/bin/env bash
# Unit, MPI and program tests, and twenty rounds of chaos, with MPICH in Open MPI's place.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
command -v mpicxx.mpich >/dev/null || {
  echo "no mpicxx.mpich: tools/setup.sh --tests installs MPICH and its HDF5 on Debian"
  exit 77
}
cmake --preset mpich -DBUILD_TESTING=ON -DSTANLEY_WERROR=ON >/dev/null # as the release preset: ccache has half of it
cmake --build --preset mpich
tests/house/mpich.sh --program
ctest --test-dir .build/mpich --output-on-failure --label-regex '^(unit|mpi|program)$'
STANLEY_TEST_MPIRUN=mpirun.mpich STANLEY_PROGRAM=$PWD/.build/mpich/stanley OMP_NUM_THREADS=1 tests/chaos --rounds 20
