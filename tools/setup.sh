#!/usr/bin/env bash
# Installs what stanley needs to build, run and be tested. Safe to run again: it looks first,
# and does nothing where nothing is missing.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tools/setup.sh [--tests] [--cuda] [--peers]

Installs the Debian packages that are missing, and makes .deps/venv with LibTorch and the Python
packages of tools/requirements.txt. Where Debian packages cannot be installed (no Debian, no root)
it says what is missing, by its Debian and its Spack name, and ends with exit code 3.

  --tests  also what tests/run.sh checks with: clang-format, clang-tidy, shellcheck, a Slurm
  --cuda   also the libraries that the cuda preset links beside the CUDA toolkit
  --peers  also what tools/compare_peers.py compares with
  PYTHON=/path/to/python3 chooses the Python that makes .deps/venv (3.11 or newer)
TEXT
}

readonly environment_error=3 # the exit codes of stanley
readonly usage_error=2

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly venv=.deps/venv log=.deps/setup.log building=.deps/venv.building

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: %s\n' "$*" >&2
  exit "$environment_error"
}
fail_with_log() {
  tail -n 20 "$log" >&2 || true
  fail "$* (all of it: $log)"
}

with_tests=false
requirement_files=(tools/requirements.txt)
for argument in "$@"; do
  case $argument in
    --tests) with_tests=true ;;
    --cuda) requirement_files+=(tools/requirements-cuda.txt) ;;
    --peers) requirement_files+=(tools/requirements-peers.txt) ;;
    -h | --help)
      usage
      exit 0
      ;;
    *)
      usage >&2
      printf 'setup: unknown option %s\n' "$argument" >&2
      exit "$usage_error"
      ;;
  esac
done

# --- what is needed: Debian package | how to look without dpkg | Spack package ---------------------
needed=(
  'g++ | command g++ | gcc'
  'cmake | command cmake | cmake'
  'ninja-build | command ninja | ninja'
  'pkg-config | command pkg-config | pkgconf'
  'git | command git | git'
  'ccache | optional |'
  'openmpi-bin | command mpirun | openmpi'
  'libopenmpi-dev | cmake MPI | openmpi'
  'libhdf5-openmpi-dev | pkg hdf5-openmpi hdf5 | hdf5+mpi'
  'libyaml-cpp-dev | pkg yaml-cpp | yaml-cpp'
  'libxxhash-dev | pkg libxxhash | xxhash'
  'libfmt-dev | cmake fmt | fmt'
  'libspdlog-dev | cmake spdlog | spdlog'
  'nlohmann-json3-dev | cmake nlohmann_json | nlohmann-json'
  'libcli11-dev | cmake CLI11 | cli11'
  'libgtest-dev | cmake GTest | googletest'
  'libbenchmark-dev | cmake benchmark | benchmark'
  'librandom123-dev | header Random123/philox.h | random123'
  'netcdf-bin | optional |'
  'hdf5-tools | optional |'
  'dataset-fashion-mnist | optional |'
  'python3-venv | optional |' # the search for a Python below is the real check
)
if $with_tests; then
  needed+=(
    'clang-format | command clang-format | llvm'
    'clang-tidy | command clang-tidy | llvm'
    'shellcheck | command shellcheck | shellcheck'
    'iproute2 | optional |' # the hosts of tests/network
    'munge | optional |'    # the cluster of tests/slurm
    'slurmctld | optional |'
    'slurmd | optional |'
    'slurm-client | optional |'
  )
fi

trimmed_field() { # LINE NUMBER: the field of a line of `needed`
  local fields
  IFS='|' read -r -a fields <<<"$1"
  read -r field <<<"${fields[$2]:-}" || true
  printf '%s' "$field"
}

find_missing_packages() { # sets missing and missing_optional
  local installed package line
  installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' 2>/dev/null |
    sed -n 's/^installed //p')
  for line in "${needed[@]}"; do
    package=$(trimmed_field "$line" 0)
    if grep -qxF -- "$package" <<<"$installed"; then continue; fi
    if [ "$(trimmed_field "$line" 1)" = optional ]; then
      missing_optional+=("$package")
    else
      missing+=("$package")
    fi
  done
}

prepare_apt() { # sets apt
  local as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
  {
    "${as_root[@]}" dpkg --configure -a # an earlier installation may have been interrupted
    "${apt[@]}" update
  } >"$log" 2>&1
}

apt_install() { "${apt[@]}" install -y --no-install-recommends "$@" >>"$log" 2>&1; } # PACKAGE...

# One by one where they can't be had together: apt installs nothing at all if it doesn't know one name.
install_optional_packages() { # PACKAGE...
  local package
  if [ $# -eq 0 ] || apt_install "$@"; then return; fi
  for package in "$@"; do
    apt_install "$package" || say "the Debian package $package can't be installed here: goes on without"
  done
}

install_packages() { # those of missing and missing_optional
  local apt
  say "installing $((${#missing[@]} + ${#missing_optional[@]})) Debian packages: ${missing[*]} ${missing_optional[*]}"
  if ! prepare_apt; then
    [ "${#missing[@]}" -eq 0 ] || fail_with_log "'apt-get update' failed: is the network there?"
    say "'apt-get update' failed (all of it: $log): goes on without them, since none of them is needed"
    return 0
  fi
  [ "${#missing[@]}" -eq 0 ] || apt_install "${missing[@]}" || fail_with_log "'apt-get install' failed"
  install_optional_packages "${missing_optional[@]}"
}

may_install_packages() {
  command -v apt-get >/dev/null || return 1
  [ "$(id -u)" -eq 0 ] && return 0
  command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }
}

# --- without Debian packages: look for the libraries where the build will look ----------------------
cmake_packages_not_found() { # NAME...: prints those that CMake does not find
  command -v cmake >/dev/null || {
    printf '%s\n' "$@"
    return 0
  }
  local probe
  probe=$(mktemp -d)
  {
    echo 'cmake_minimum_required(VERSION 3.25)'
    echo 'project(probe LANGUAGES CXX)'
    echo "foreach(name $*)"
    # shellcheck disable=SC2016 # CMake's variables
    printf '%s\n' 'find_package(${name} QUIET)' 'if(NOT ${name}_FOUND)' \
      'message(STATUS "absent: ${name}")' 'endif()' 'endforeach()'
  } >"$probe/CMakeLists.txt"
  local output
  if output=$(cmake -S "$probe" -B "$probe/build" 2>&1); then
    sed -n 's/^-- absent: //p' <<<"$output"
  else
    printf '%s\n' "$@"
  fi
  rm -rf "$probe"
}

is_there() { # KIND NAME...: any of the names will do
  local kind=$1 name
  shift
  [ "$kind" != optional ] || return 0
  for name in "$@"; do
    case $kind in
      command) command -v "$name" >/dev/null && return 0 ;;
      pkg) pkg-config --exists "$name" 2>/dev/null && return 0 ;;
      header) "${CXX:-g++}" -E -x c++ -include "$name" /dev/null >/dev/null 2>&1 && return 0 ;;
    esac
  done
  return 1
}

list_what_is_missing() { # prints a line for each library or tool that the build will not find
  local line check cmake_names=() absent
  for line in "${needed[@]}"; do
    check=$(trimmed_field "$line" 1)
    [[ $check == cmake\ * ]] && cmake_names+=("${check#cmake }")
  done
  absent=$(cmake_packages_not_found "${cmake_names[@]}")
  for line in "${needed[@]}"; do
    check=$(trimmed_field "$line" 1)
    if [[ $check == cmake\ * ]]; then
      grep -qxF -- "${check#cmake }" <<<"$absent" || continue
    else
      # shellcheck disable=SC2086 # kind and names are words
      is_there $check && continue
    fi
    printf '  %-22s Spack: %s\n' "$(trimmed_field "$line" 0)" "$(trimmed_field "$line" 2)"
  done
}

ensure_libraries() {
  local missing=() missing_optional=() list
  if command -v dpkg-query >/dev/null; then
    find_missing_packages
    [ $((${#missing[@]} + ${#missing_optional[@]})) -gt 0 ] || return 0
    if may_install_packages; then
      install_packages
      return 0
    fi
  fi
  list=$(list_what_is_missing)
  [ -n "$list" ] || return 0
  printf 'missing (Debian package, Spack package):\n%s\n' "$list" >&2
  fail "Debian packages cannot be installed here (that needs Debian, and root or sudo):" \
    "load modules or install with Spack what the list names, then run tools/setup.sh again"
}

# --- the virtual environment -------------------------------------------------------------------------
find_python() {
  local python
  for python in ${PYTHON:+"$PYTHON"} python3 python3.11 python3.12 python3.13 /usr/bin/python3; do
    if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
      2>/dev/null; then
      printf '%s' "$python"
      return 0
    fi
    [ "$python" != "${PYTHON:-}" ] || return 1 # the one that was asked for, or none
  done
  return 1
}

is_whole() { # the environment exists, was not interrupted while it was made, and its Python runs
  [ ! -e "$building" ] && "$venv/bin/python" -c '' 2>/dev/null
}

stamp_of() { printf '%s/.installed-%s' "$venv" "$(basename "$1")"; }

is_installed() { # REQUIREMENTS: exactly this file was installed here
  local stamp
  stamp=$(stamp_of "$1")
  [ -e "$stamp" ] && cmp -s "$1" "$stamp"
}

make_venv() {
  local python
  python=$(find_python) || fail "no Python 3.11 or newer with the modules venv and ensurepip was" \
    "found: install one, or name it with PYTHON=/path/to/python3 tools/setup.sh"
  say "making $venv with $("$python" -c 'import sys; print(sys.executable, sys.version.split()[0])')"
  touch "$building"
  rm -rf "$venv"
  "$python" -m venv "$venv" >"$log" 2>&1 || fail_with_log "'$python -m venv $venv' failed"
}

pip_install() { # ARGUMENTS of pip install
  touch "$building"
  if ! "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off \
    "$@" >"$log" 2>&1; then
    rm -f "$building" # pip said no and left what was there as it was
    fail_with_log "'pip install $*' failed: is the network there?"
  fi
  rm -f "$building"
}

install_requirements() { # FILE: it names every package and version, so nothing is left to resolve
  say "installing the Python packages of $1"
  pip_install --no-deps -r "$1"
  if [ "$1" = tools/requirements-peers.txt ]; then complete_torch_for_python; fi
  cp "$1" "$(stamp_of "$1")"
}

check_venv() { # a wheel for another processor or libc shows here, not in the middle of a build
  compgen -G "$venv/lib/python3*/site-packages/torch/lib/libtorch_cpu.so" >/dev/null ||
    fail "$venv holds no torch/lib/libtorch_cpu.so: remove $venv and run tools/setup.sh again"
  "$venv/bin/python" -c 'import arviz, h5netcdf, h5py, matplotlib, netCDF4, numpy, PIL
import pytest, xarray, xxhash, yaml' >"$log" 2>&1 ||
    fail_with_log "a Python package in $venv cannot be imported: remove $venv and run tools/setup.sh again"
}

# `import torch` wants every CUDA library of the wheel; the C++ program does not. A machine with a
# CUDA toolkit has them already.
complete_torch_for_python() {
  "$venv/bin/python" -c 'import torch' >/dev/null 2>&1 && return 0
  say "installing the CUDA libraries that 'import torch' needs (3 GB)"
  pip_install -c tools/requirements.txt torch
  "$venv/bin/python" -c 'import torch' >"$log" 2>&1 || fail_with_log "'import torch' failed"
}

ensure_venv() {
  is_whole || make_venv
  local file changed=false
  for file in "${requirement_files[@]}"; do
    is_installed "$file" && continue
    install_requirements "$file"
    changed=true
  done
  if $changed; then check_venv; fi
}

# Waits for another set-up. Some file systems have no locks (Lustre mounted without `flock`): one set-up alone
# needs none.
lock() {
  local code=0
  exec 9>.deps/setup.lock
  flock -n 9 2>/dev/null || code=$?
  if [ "$code" -eq 1 ]; then
    say "waiting for another tools/setup.sh"
    code=0
    flock 9 2>/dev/null || code=$?
  fi
  [ "$code" -eq 0 ] || say ".deps/setup.lock can't be locked (flock ended with $code): start no other" \
    "tools/setup.sh here before this one has ended"
}

# An interrupted set-up leaves $building behind, and the next one makes the environment anew.
trap 'exit 130' INT
trap 'exit 143' TERM

mkdir -p .deps
lock
ensure_libraries
ensure_venv
say "everything is there"
