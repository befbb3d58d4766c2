#!/usr/bin/env bash
# Installs what stanley needs to build, run and be tested. Safe to run again: it looks first,
# and does nothing where nothing is missing.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tools/setup.sh [--tests] [--cuda] [--peers] [--evaluate]

Installs the Debian packages that are missing, and makes .deps/venv with LibTorch and the Python packages
of tools/requirements.txt. Where Debian packages cannot be installed (no Debian, no root) it looks for all
that the build needs as CMake will look, lists what is missing or too old by its names for Debian, Spack and
EasyBuild, and ends with exit code 3. Nothing is downloaded before all is there.

  --tests  also what tests/run.sh checks with: GoogleTest, MPICH, clang-format, clang-tidy, shellcheck, a Slurm
  --cuda   also nvcc (12.0 or newer) is asked for, and what the cuda preset links beside it is installed
  --peers  also what tools/compare_peers.py compares with
  --evaluate  also the feature network of `stanley evaluate` (.data/features, 20 MB), and what writes it: PyTorch in
           Python (3 GB where there is no CUDA toolkit)

  PYTHON=FILE                the Python that makes .deps/venv: 3.11 to 3.14
  STANLEY_TORCH_ROOT=FOLDER  the torch to build with instead of downloading one: a folder with lib/libtorch_cpu.so,
                             2.6 or newer. The torch that PYTHON imports is found without it.
  CXX, CUDACXX, CMAKE_PREFIX_PATH, HDF5_ROOT, ... are heard as CMake hears them

The LibTorch that it downloads is for CUDA 13. For CUDA 12, give it an older torch:
  python3 -m venv torch12 && torch12/bin/pip install torch==2.10.0
  PYTHON=torch12/bin/python tools/setup.sh --cuda
.deps/torch is a link to the torch that is used: remove it to choose anew. .deps (2 GB, 35,000 files) may be a link
to a folder elsewhere.
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

with_tests=false with_cuda=false with_peers=false with_evaluate=false
for argument in "$@"; do
  case $argument in
    --tests) with_tests=true ;;
    --cuda) with_cuda=true ;;
    --peers) with_peers=true ;;
    --evaluate) with_evaluate=true ;;
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

# --- what is needed ---------------------------------------------------------------------------------
# By the name that CMake and the checks below give it: Debian, Spack, EasyBuild; * where CMake can fetch it.
names=(
  'compiler | g++ | gcc | GCC'
  'CMake | cmake | cmake | CMake'
  'Ninja | ninja-build | ninja | Ninja'
  'Python | python3-venv | python | Python'
  'nvcc | nvidia-cuda-toolkit | cuda | CUDA'
  'NCCL | libnccl-dev | nccl | NCCL'
  'OpenMP | g++ | gcc | GCC'
  'MPI | libopenmpi-dev | openmpi | OpenMPI'
  'HDF5 | libhdf5-openmpi-dev | hdf5+mpi+hl | HDF5'
  'fmt | libfmt-dev | fmt | fmt | *'
  'spdlog | libspdlog-dev | spdlog | spdlog | *'
  'nlohmann_json | nlohmann-json3-dev | nlohmann-json | nlohmann_json | *'
  'CLI11 | libcli11-dev | cli11 | CLI11 | *'
  'yaml-cpp | libyaml-cpp-dev | yaml-cpp | yaml-cpp | *'
  'Random123 | librandom123-dev | random123 | | *'
  'xxHash | libxxhash-dev | xxhash | xxHash | *'
  'GTest | libgtest-dev | googletest | googletest | *'
  'clang-format | clang-format | llvm | Clang'
  'clang-tidy | clang-tidy | llvm | Clang'
  'shellcheck | shellcheck | shellcheck |'
)
libraries=(OpenMP MPI HDF5 fmt spdlog nlohmann_json CLI11 yaml-cpp Random123 xxHash)

# Debian's packages: what the build needs, and what is good to have. The tools are looked for by themselves.
packages=(openmpi-bin libopenmpi-dev libhdf5-openmpi-dev libfmt-dev libspdlog-dev nlohmann-json3-dev
  libcli11-dev libyaml-cpp-dev librandom123-dev libxxhash-dev)
optional_packages=(git ccache dataset-fashion-mnist)
if $with_tests; then
  libraries+=(GTest)
  packages+=(libgtest-dev)
  optional_packages+=(netcdf-bin hdf5-tools mpich libmpich-dev libhdf5-mpich-dev g++-11
    iproute2 munge slurmctld slurmd slurm-client) # the hosts of tests/network, the cluster of tests/slurm
fi

field_of() { # NAME NUMBER: a field of its line of `names`
  local line fields field=""
  for line in "${names[@]}"; do
    IFS='|' read -r -a fields <<<"$line"
    if [ "${fields[0]% }" = "$1" ]; then read -r field <<<"${fields[$2]:-}" || true; fi
  done
  printf '%s' "$field"
}

lacking=() # NAME|what is wrong with it
lack() { lacking+=("$1|$2"); }
lacks() { # NAME
  local line
  for line in "${lacking[@]}"; do [ "${line%%|*}" != "$1" ] || return 0; done
  return 1
}

# --- tools --------------------------------------------------------------------------------------------
declare -A oldest=([compiler]=11 [CMake]=3.25 [Python]=3.11 [nvcc]=12.0)
readonly oldest_clang=16 newest_python=3.14 oldest_glibc=2.28

is_at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | sed -n 1p)" = "$2" ]; } # VERSION OLDEST

first_command() { # NAME...: prints the first that is there
  local name
  for name in "$@"; do
    if command -v "$name" >/dev/null; then
      printf '%s' "$name"
      return
    fi
  done
}

check_compiler() {
  local cxx gcc="" clang="" wanted="g++ ${oldest[compiler]} or clang++ $oldest_clang, or newer"
  cxx=${CXX:-$(first_command c++ CC g++ clang++)} # as CMake chooses
  if [ -z "$cxx" ]; then
    lack compiler "$wanted"
    return
  fi
  # shellcheck disable=SC2086 # it may have options
  read -r gcc clang < <($cxx -E -P -x c++ - 2>/dev/null <<<'__GNUC__ __clang_major__' | tail -n 1) || true
  if ! [[ $gcc =~ ^[0-9]+$ ]]; then
    lack compiler "$wanted; '$cxx' compiles nothing"
  elif [[ $clang =~ ^[0-9]+$ ]]; then
    is_at_least "$clang" "$oldest_clang" || lack compiler "$wanted; '$cxx' is clang $clang"
  else
    is_at_least "$gcc" "${oldest[compiler]}" || lack compiler "$wanted; '$cxx' is GCC $gcc"
  fi
}

check_version() { # NAME COMMAND PATTERN: of its --version; sed's first group is the version
  local version
  if ! command -v "$2" >/dev/null; then
    lack "$1" "${oldest[$1]} or newer"
    return
  fi
  version=$("$2" --version 2>/dev/null | sed -n "s/$3/\1/p" | sed -n 1p) || true
  is_at_least "${version:-0}" "${oldest[$1]}" ||
    lack "$1" "${oldest[$1]} or newer; $(command -v "$2") is ${version:-of an unknown version}"
}

# Another environment than ours, which may have to be made anew.
readonly fits='import os, sys, venv, ensurepip
low, high = (tuple(map(int, word.split("."))) for word in sys.argv[1:3])
ours = os.path.realpath(sys.prefix) == os.path.realpath(sys.argv[3])
sys.exit(ours or not low <= sys.version_info[:2] <= high)'

find_python() { # prints a Python that can make the environment
  local python
  for python in ${PYTHON:+"$PYTHON"} python3 python3.{11..14} /usr/bin/python3; do
    if "$python" -c "$fits" "${oldest[Python]}" "$newest_python" "$venv" 2>/dev/null; then
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

check_python() {
  if is_whole || find_python >/dev/null; then return; fi
  lack Python "${oldest[Python]} to $newest_python with the modules venv and ensurepip$(
    [ -z "${PYTHON:-}" ] || printf ', which %s is not' "$PYTHON"
  ); PYTHON=FILE names one"
}

readonly nvcc_pattern='.*release \([0-9.]*\).*'
nvcc_command() { # as CMake chooses
  printf '%s' "${CUDACXX:-$(first_command nvcc "${CUDA_PATH:-}/bin/nvcc")}"
}

check_tools() { # sets lacking
  lacking=()
  check_compiler
  check_version CMake cmake 'cmake version \([0-9.]*\).*'
  [ -n "$(first_command ninja-build ninja samu)" ] || lack Ninja "any version"
  check_python
  if $with_cuda; then
    check_version nvcc "$(nvcc_command)" "$nvcc_pattern"
  fi
  if $with_tests; then
    local tool
    for tool in clang-format clang-tidy shellcheck; do
      command -v "$tool" >/dev/null || lack "$tool" "any version"
    done
  fi
}

# --- libraries, found by the build's own CMake modules ------------------------------------------------
check_libraries() { # adds to lacking
  local name line
  if lacks compiler || lacks CMake || lacks Ninja; then
    for name in "${libraries[@]}"; do lack "$name" "can't be looked for without compiler, CMake and Ninja"; done
    return
  fi
  rm -rf .deps/probe
  if ! env -u STANLEY_FETCH -u STANLEY_FETCH_FROM cmake -G Ninja -S tools/cmake/probe -B .deps/probe \
    -DBUILD_TESTING=$with_tests -DSTANLEY_CUDA=$with_cuda >"$log" 2>&1; then
    rm -rf .deps/probe
    fail_with_log "CMake cannot look for libraries here"
  fi
  rm -rf .deps/probe
  while IFS= read -r line; do
    name=${line%%: *}
    [ "$name" = torch ] || lack "$name" "${line#*: }" # torch is ours to bring
  done < <(sed -n 's/^missing: //p' "$log")
}

list_what_is_lacking() {
  local line name
  printf '  %-14s %-21s %-14s %-14s %s\n' '' Debian Spack EasyBuild wanted
  for line in "${lacking[@]}"; do
    name=${line%%|*}
    printf '  %-14s %-21s %-14s %-14s %s\n' "$name$(field_of "$name" 4)" "$(field_of "$name" 1)" \
      "$(field_of "$name" 2)" "$(field_of "$name" 3)" "${line#*|}"
  done
}

fail_with_list() { # WHY
  {
    printf 'setup: missing or too old:\n'
    list_what_is_lacking
    printf '  * with -DSTANLEY_FETCH=ON, CMake fetches and builds it\n'
  } >&2
  fail "$* load modules, or install what the list names with Spack or EasyBuild (pip has CMake and Ninja," \
    "too), then run tools/setup.sh again"
}

all_can_be_fetched() {
  local line
  for line in "${lacking[@]}"; do [ -n "$(field_of "${line%%|*}" 4)" ] || return 1; done
}

# --- Debian's packages --------------------------------------------------------------------------------
find_missing_packages() { # sets missing and missing_optional
  local installed package line
  installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' 2>/dev/null |
    sed -n 's/^installed //p')
  missing=() missing_optional=()
  for line in "${lacking[@]}"; do missing+=("$(field_of "${line%%|*}" 1)"); done
  for package in "${packages[@]}"; do
    grep -qxF -- "$package" <<<"$installed" || missing+=("$package")
  done
  for package in "${optional_packages[@]}"; do
    grep -qxF -- "$package" <<<"$installed" || missing_optional+=("$package")
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

check_candidates() { # an old release has no tool that is new enough: known before anything is installed
  local line name package version
  for line in "${lacking[@]}"; do
    name=${line%%|*}
    package=$(field_of "$name" 1)
    version=$(LC_ALL=C apt-cache policy "${package%-venv}" 2>/dev/null |
      sed -n 's/^ *Candidate: \([0-9]*:\)\?//p') || true
    if [[ $version =~ ^[0-9] ]] && ! is_at_least "$version" "${oldest[$name]:-0}"; then
      fail_with_list "the packages of this system are too old. Instead"
    fi
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
  check_candidates
  [ "${#missing[@]}" -eq 0 ] || apt_install "${missing[@]}" || fail_with_log "'apt-get install' failed"
  install_optional_packages "${missing_optional[@]}"
  check_tools
  [ "${#lacking[@]}" -eq 0 ] || fail_with_list "what was installed is hidden by another one (PATH, CXX, PYTHON). Remove that, or"
}

has_apt() { command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; }
is_root() { [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; }
asks_for_root() { # a person who may become root is asked for the password, once something is needed
  [ -t 0 ] && command -v sudo >/dev/null && say "Debian packages are missing: sudo asks for your password" && sudo -v
}

ensure_libraries() {
  local missing=() missing_optional=()
  if has_apt && ! lacks nvcc; then # CUDA's packages are not Debian's own
    find_missing_packages
    [ $((${#missing[@]} + ${#missing_optional[@]})) -gt 0 ] || [ "${#lacking[@]}" -gt 0 ] || return 0
    if is_root; then
      install_packages
      return
    fi
  fi
  check_libraries
  [ "${#lacking[@]}" -gt 0 ] || return 0
  if all_can_be_fetched; then
    say "CMake has to fetch ${lacking[*]%%|*}: configure with -DSTANLEY_FETCH=ON"
  elif [ "${#missing[@]}" -gt 0 ] && asks_for_root; then
    install_packages
  else
    fail_with_list "tools/setup.sh installs packages on Debian, with root or sudo, but not CUDA's. Elsewhere"
  fi
}

# --- LibTorch -----------------------------------------------------------------------------------------
readonly oldest_torch=2.6

torch_version() { # FOLDER: prints 2.11
  cat "$1"/include/torch/{headeronly,csrc/api/include/torch}/version.h 2>/dev/null |
    sed -n 's/^#define TORCH_VERSION_\(MAJOR\|MINOR\) \([0-9]*\).*/\2/p' | paste -sd .
}

torch_fault() { # FOLDER: prints why the build can't use its torch, or nothing
  local version unmet
  version=$(torch_version "$1")
  unmet=$({ LC_ALL=C ldd "$1/lib/libtorch_cpu.so" 2>&1 || true; } | grep -m 1 -E 'not found|not a dynamic' |
    tr -s '[:space:]' ' ') || true
  if [ ! -e "$1/lib/libtorch_cpu.so" ]; then
    printf '%s has no lib/libtorch_cpu.so' "$1"
  elif [ -z "$version" ]; then
    printf '%s has no C++ headers in include' "$1"
  elif ! is_at_least "$version" "$oldest_torch"; then
    printf '%s is torch %s, and the oldest that can be used is %s' "$1" "$version" "$oldest_torch"
  elif grep -qs 'GLIBCXX_USE_CXX11_ABI=0' "$1/share/cmake/Torch/TorchConfig.cmake"; then
    printf '%s was built with the ABI that C++ had before 2011 (_GLIBCXX_USE_CXX11_ABI=0)' "$1"
  elif [ -n "$unmet" ]; then
    printf '%s/lib/libtorch_cpu.so cannot be loaded here: %s' "$1" "${unmet# }"
  else
    cuda_fault "$1"
  fi
}

cuda_fault() { # FOLDER: prints why the preset cuda can't link its torch, or nothing
  if ! $with_cuda || lacks nvcc; then return; fi
  local nvcc runtime
  nvcc=$("$(nvcc_command)" --version | sed -n "s/$nvcc_pattern/\1/p")
  runtime=$(grep -aosm 1 'libcudart\.so\.[0-9]*' "$1/lib/libtorch_cuda.so" | sed -n 1p) || true
  if [ -z "$runtime" ]; then
    printf '%s is a torch without CUDA' "$1"
  elif [ "${runtime##*.}" != "${nvcc%%.*}" ]; then
    printf '%s is for CUDA %s, and nvcc is of %s' "$1" "${runtime##*.}" "$nvcc"
  fi
}

torch_of() { # PYTHON: prints the folder of the torch that it imports
  "$1" -c 'import importlib.util, os
print(os.path.realpath(importlib.util.find_spec("torch").submodule_search_locations[0]))' 2>/dev/null || true
}

our_torch() { compgen -G "$venv/lib/python3*/site-packages/torch" || true; }

use_torch() { # FOLDER: sets torch, if the folder is not of our own environment and can be used
  [ -n "$1" ] && ! [ "$1" -ef "$(our_torch)" ] || return 1
  local fault
  fault=$(torch_fault "$1")
  if [ -n "$fault" ]; then
    say "passes over a torch: $fault"
    return 1
  fi
  torch=$1
}

# What was chosen before stays, so that a module that is loaded for something else changes nothing.
choose_torch() { # sets torch to the folder of one that is there; empty: the wheel in our environment
  torch=""
  if [ -n "${STANLEY_TORCH_ROOT:-}" ]; then
    local fault
    fault=$(torch_fault "$STANLEY_TORCH_ROOT")
    [ -z "$fault" ] || fail "STANLEY_TORCH_ROOT: $fault"
    torch=$(realpath "$STANLEY_TORCH_ROOT")
    return
  fi
  if $with_peers || $with_evaluate; then return; fi # Python imports the torch of our environment
  if [ -n "${PYTHON:-}" ] && use_torch "$(torch_of "$PYTHON")"; then return; fi
  if [ -e .deps/torch ] && use_torch "$(realpath .deps/torch)"; then return; fi
  [ -z "$(our_torch)" ] || return 0
  use_torch "$(torch_of "$(first_command python3)")" || true
}

check_cuda() { # what would be downloaded fits nvcc
  if ! $with_cuda || lacks nvcc || [ -n "$torch" ]; then return; fi
  local version
  version=$("$(nvcc_command)" --version | sed -n "s/$nvcc_pattern/\1/p")
  [ "${version%%.*}" = 13 ] || fail "nvcc is of CUDA $version, and the torch that is downloaded is for CUDA 13:" \
    "load a CUDA 13, or name a torch for CUDA ${version%%.*} as tools/setup.sh --help tells"
}

link_torch() {
  local folder=$torch
  [ -n "$folder" ] || folder=$(realpath --relative-to=.deps "$(our_torch)")
  [ "$(readlink .deps/torch)" != "$folder" ] && ! [ .deps/torch -ef "$folder" ] || return 0
  [ ! -L .deps/torch ] || say "another torch than before: configure with 'cmake --fresh --preset ...'"
  ln -sfn "$folder" .deps/torch
}

# --- the virtual environment -------------------------------------------------------------------------
lock_file_of() { printf '%s.lock' "${1%.txt}"; } # REQUIREMENTS: its packages with their digests
stamp_of() { printf '%s/.installed-%s' "$venv" "$(basename "$1")"; }

is_installed() { # REQUIREMENTS: exactly this file was installed here
  local stamp
  stamp=$(stamp_of "$1")
  [ -e "$stamp" ] && cmp -s "$1" "$stamp"
}

make_venv() {
  local python
  python=$(find_python)
  say "making $venv with $("$python" -c 'import sys; print(sys.executable, sys.version.split()[0])')"
  touch "$building"
  rm -rf "$venv"
  "$python" -m venv "$venv" >"$log" 2>&1 || fail_with_log "'$python -m venv $venv' failed"
}

our_python() { "$venv/bin/python" -I "$@"; } # -I: the PYTHONPATH of a module names other packages

pip_install() { # ARGUMENTS of pip install
  touch "$building"
  mkdir -p .deps/tmp # for 1 GB, which /tmp may lack
  if ! TMPDIR=$PWD/.deps/tmp our_python -m pip install --disable-pip-version-check --no-input --progress-bar off \
    "$@" >"$log" 2>&1; then
    rm -rf "$building" .deps/tmp # pip said no and left what was there as it was
    fail_with_log "'pip install $*' failed: is the network there?"
  fi
  rm -rf "$building" .deps/tmp
}

install_requirements() { # FILE: it names every package and version, so nothing is left to resolve
  say "installing the Python packages of $1"
  pip_install --no-deps --require-hashes -r "$(lock_file_of "$1")"
  case $1 in *-peers.txt | *-evaluate.txt) complete_torch_for_python ;; esac
  cp "$1" "$(stamp_of "$1")"
}

check_venv() { # a wheel for another processor or libc shows here, not in the middle of a build
  local fault
  if [ -z "$torch" ]; then
    fault=$(torch_fault "$(our_torch)")
    [ -z "$fault" ] || fail "$fault: remove $venv and run tools/setup.sh again"
  fi
  our_python -c 'import arviz, h5netcdf, h5py, matplotlib, netCDF4, numpy, PIL
import pytest, xarray, xxhash, yaml' >"$log" 2>&1 ||
    fail_with_log "a Python package in $venv cannot be imported: remove $venv and run tools/setup.sh again"
}

# `import torch` wants every CUDA library of the wheel; the C++ program does not. A machine with a
# CUDA toolkit has them already.
complete_torch_for_python() {
  our_python -c 'import torch' >/dev/null 2>&1 && return 0
  say "installing the CUDA libraries that 'import torch' needs (3 GB)"
  pip_install -c tools/requirements.txt -c tools/requirements-torch.txt torch
  our_python -c 'import torch' >"$log" 2>&1 || fail_with_log "'import torch' failed"
}

ensure_venv() {
  local file changed=false files=(tools/requirements.txt)
  if [ -z "$torch" ] || $with_peers || $with_evaluate; then files+=(tools/requirements-torch.txt); fi
  if $with_cuda && [ -z "$torch" ]; then files+=(tools/requirements-cuda.txt); fi
  if $with_peers; then files+=(tools/requirements-peers.txt); fi
  if $with_evaluate; then files+=(tools/requirements-evaluate.txt); fi
  is_whole || make_venv
  for file in "${files[@]}"; do
    is_installed "$file" && continue
    install_requirements "$file"
    changed=true
  done
  if $changed; then check_venv; fi
}

# --- where it is set up, and one set-up at a time --------------------------------------------------------------------------------------
make_deps() {
  if ! { mkdir -p .deps && touch .deps/setup.lock; } 2>/dev/null; then
    fail "$PWD/.deps can't be written, or is a link to a folder that isn't there:" \
      "set up a clone of your own, or make the folder"
  fi
}

check_system() { # what every wheel asks for
  local libc
  libc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || libc="another C library"
  if ! [[ "$(uname -m) $libc" =~ ^(x86_64|aarch64)\ glibc ]] || ! is_at_least "${libc#glibc }" "$oldest_glibc"; then
    fail "stanley needs Linux on x86_64 or aarch64 with glibc $oldest_glibc or newer; this is $(uname -sm) with $libc"
  fi
}

check_space() { # before anything is downloaded
  if is_installed tools/requirements.txt; then return; fi
  local needed=4000 free
  [ -z "$torch" ] || needed=1000
  free=$(($(df -k --output=avail .deps/ | sed 1d) / 1024))
  [ "$free" -ge "$needed" ] || fail "$(realpath .deps) has $free MB free, and the Python packages need $needed MB:" \
    "make room, or make .deps a link to a folder elsewhere"
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

check_system
make_deps
lock
check_tools
choose_torch
check_cuda
check_space
ensure_libraries
ensure_venv
link_torch
if $with_evaluate; then "$venv/bin/python" tools/export_features.py --if-missing; fi
say "everything is there${torch:+, with the torch of $torch}"
