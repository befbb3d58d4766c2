#!/usr/bin/env bash
# From a fresh machine to learned images: sets up, builds, converts the data, trains on this
# machine, and says where the results are.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: jobs/local.sh [CONFIG] [--ranks N] [-- stanley options]

Trains CONFIG (default: configs/fashion_mnist.yaml) on N MPI ranks (default: 2) of this machine.
Whatever is missing is installed, built and converted first; run it again after an interruption
and it goes on from the newest checkpoint. What follows -- goes to 'stanley train', for example
  jobs/local.sh configs/toy_rings.yaml --ranks 1 -- --set run.seed=2 --run-directory runs/rings-2
Relative paths in CONFIG and in options start at the repository's root; those of an installed tree's
jobs/local.sh start where you stand.

Ctrl-C, TERM or USR1: writes a checkpoint and ends with exit code 85; a second Ctrl-C or TERM at
least 5 s later ends at once. USR2: writes a checkpoint and goes on.
STANLEY_MPIRUN=mpirun.mpich jobs/local.sh takes that mpirun in place of the first in PATH.
The exit code is stanley's (README.md, "Exit codes"); where a signal ended a rank, it is mpirun's: 128 and the
signal's number, or with MPICH the number alone.
TEXT
}

# shellcheck source=tools/steps.bash
. "$(dirname "${BASH_SOURCE[0]}")/../tools/steps.bash"
enter
total_steps=5
! $installed || total_steps=3

readonly python=$python_of_tools program=("$program_cpu")
readonly default_data=.data/fashion_mnist.h5 default_data_source=/usr/share/datasets/fashion-mnist
config=configs/fashion_mnist.yaml
ranks=2
options=()

read_arguments() {
  local config_given=false
  while [ $# -gt 0 ]; do
    case $1 in
      -h | --help)
        usage
        exit 0
        ;;
      --ranks)
        ranks=${2:-}
        shift
        ;;
      --ranks=*) ranks=${1#--ranks=} ;;
      --)
        shift
        options=("$@")
        break
        ;;
      -*) give_up 2 "unknown option $1: see jobs/local.sh --help, and put stanley's options after --" ;;
      *)
        ! $config_given || give_up 2 "a second configuration, $1: one run takes one"
        config_given=true
        config=$1
        ;;
    esac
    [ $# -eq 0 ] || shift
  done
  [[ $ranks =~ ^[1-9][0-9]*$ ]] || give_up 2 "--ranks wants a number from 1, not '$ranks'"
  config=$(find_file "$config")
  [ -f "$config" ] || give_up 2 "there is no configuration $config"
}

read_settings() { # sets data_path and run_directory
  data_path=$(ask_program --get=data.path "$config" "${options[@]}")
  run_directory=$(ask_program --directory "$config" "${options[@]}")
}

# Each rank gets its own cores where there are enough of them; else they share, and say so.
choose_launcher() {
  launch=() mpirun_is=none
  [ "$ranks" -gt 1 ] || return 0
  local cores
  cores=$({ lscpu --parse=CORE,SOCKET 2>/dev/null || true; } | sed '/^#/d' | sort -u | wc -l)
  [ "$cores" -le "$(processors)" ] && [ "$cores" -gt 0 ] || cores=$(processors)
  [ "$cores" -ge "$ranks" ] || echo "$ranks ranks share $cores cores: slower than $cores ranks would be"
  choose_mpirun "$ranks" $((cores / ranks))
}

# Passes a signal on to the ranks. mpirun hands on USR1, but Open MPI's kills its ranks a second after a
# TERM or INT, so those become USR1: "write a checkpoint and end".
# shellcheck disable=SC2317 # traps call it
pass_on() { # SIGNAL
  [ -n "$training" ] || exit 143
  interrupted=true
  local signal=$1
  if [ "$signal" = INT ] || [ "$signal" = TERM ]; then
    if [ -n "$asked_to_stop_at" ] && [ $((SECONDS - asked_to_stop_at)) -ge 5 ]; then
      signal=TERM
    else
      : "${asked_to_stop_at:=$SECONDS}"
      signal=USR1
      echo "stopping: the ranks write a checkpoint first (again after 5 s: at once)"
    fi
  fi
  if [ "$signal" = USR2 ] && [ "$mpirun_is" = mpich ]; then # which would die of it: to the ranks, below its helper
    echo "$training" | children | children | xargs -r kill -s USR2 2>/dev/null || true
  else
    kill -s "$signal" "$training" 2>/dev/null || true
  fi
}

# shellcheck disable=SC2317 # pass_on calls it
children() { # the processes below those of its input, one a line
  local process
  while read -r process; do
    tr ' ' '\n' <"/proc/$process/task/$process/children" | sed '/^$/d'
  done 2>/dev/null
}

train() { # sets exit_code
  asked_to_stop_at="" training=""
  local signal
  for signal in INT TERM USR1 USR2; do
    # shellcheck disable=SC2064 # the signal's name now
    trap "pass_on $signal" "$signal"
  done
  # Its own process group: Ctrl-C in a terminal reaches this script alone.
  set -m
  "${launch[@]}" "${program[@]}" train "$config" "${options[@]}" </dev/null &
  training=$!
  set +m
  await "$training"
  trap - INT TERM USR1 USR2
}

show_results() {
  echo "results in $run_directory:"
  local what
  while read -r path what; do
    # shellcheck disable=SC2086 # a pattern
    if compgen -G "$run_directory/"$path >/dev/null; then
      printf '  %-38s %s\n' "$run_directory/$path" "$what"
    fi
  done <<'LIST'
report.html the report: open it in a browser
samples/chains.png the pictures: what the chains look like
samples/draws-*.nc draws (xarray, ArviZ, h5py)
checkpoints/latest the newest checkpoint (h5py; 'stanley sample' continues its chains)
metrics.csv the record of every iteration
log.txt the log
LIST
}

read_arguments "$@"

if ! $installed; then
  step "set-up"
  tools/setup.sh

  step "build"
  build stanley
fi

step "data"
read_settings
if [ "$data_path" = "$default_data" ]; then
  "$python" "$STANLEY_HOME/tools/convert_images.py" "$default_data_source" --pad 32 --output "$default_data" --if-missing ||
    give_up $? "the data could not be converted: see above"
else
  echo "nothing to convert: data.path is ${data_path:-not set}"
fi

step "training: $config on $ranks rank(s), into $run_directory"
choose_launcher
train

step "results"
if [ -f "$run_directory/metrics.csv" ]; then
  "$python" "$STANLEY_HOME/tools/report.py" "$run_directory" >/dev/null ||
    echo "the report could not be made: see above; '$python $STANLEY_HOME/tools/report.py $run_directory' tries again"
fi
case $exit_code in
  0) echo "finished in $(elapsed)" ;;
  85) echo "stopped with a checkpoint after $(elapsed): the same command goes on from there" ;;
  1) echo "mpirun was stopped, or could not start the ranks: '${launch[*]:0:3} hostname' says why" ;;
  *) echo "stanley ended with exit code $exit_code: its last lines above say why" ;;
esac
[ ! -d "$run_directory" ] || show_results
exit "$exit_code"
