#!/usr/bin/env bash
# What a quality costs: trains one configuration from several seeds until KID has come down to a target, and
# prints the time, the gradients and the joules that each took.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: jobs/time_to_quality.sh CONFIG --target kid=X --seeds N [options]

Trains CONFIG from the seeds 1 to N (or --seeds 3-7), each until an evaluation during the training
(evaluation.every) finds a KID·1000 of X or less, and prints a table.

  --target kid=X  KID·1000 to test images, the number of 'stanley evaluate' and of the log; kid_train=X:
                  to training images. An X between 0 and 1 is refused, since it may be meant as KID
                  itself: write kid=50/1000 or kid=0.5/1000
  --seeds N       how many, or FIRST-LAST
  --set KEY=VALUE of the configuration; may be given again
  --ranks N       MPI ranks of this machine (default: 2); the seeds run one after another
  --slurm         a job array in their place, one seed a task, and a job that makes the table. Options
                  of the form --NAME=VALUE go to sbatch: --slurm --nodes=2 --time=4:00:00
  --convert "SOURCE OPTIONS"  makes the data file anew for each seed with these arguments of
                  tools/convert_images.py, in the place of data.path
  --stage FOLDER  copies data.path for each seed into this folder, which all ranks see, or has
                  --convert write there; the copy goes when its seed is at its end
  --peer          then the same recipe in plain PyTorch on this machine (tools/setup.sh --peers), judged
                  by 'stanley evaluate', and the ratio of the medians
  --output DIR    folder (default: runs/time_to_quality/ and the run's name): table.txt, result.json,
                  time_to_quality.png, and the runs

Wall time goes from nothing to the first evaluation at the target: conversion or copy of the data
(--convert, --stage), start-up, training, evaluations, files, and what a start that was cut off lost.
Time in queues and between starts does not count. Without --convert and --stage no staging counts, and
the first seed alone computes the features of the images that are compared with. A moment is told to a
tenth of a second; of a start whose watcher was killed too, up to a second may be missing.
A seed that ends without reaching the target counts as infinity in the median, and is never left out.
Joules are those of all processors (Linux's power capping) and of the visible GPUs (NVML) of one node
meanwhile, whoever used them; "not measured" where there is no counter, it can't be read, or there are
several nodes.

Again with the same arguments it goes on: a seed at its end is not repeated, one that was cut off
resumes from its newest checkpoint. Another configuration, target or program is refused for the same
--output. Ctrl-C, TERM or USR1: the training writes a checkpoint, and this ends with 85.
Exit codes: 0 all seeds are at their end; 2 usage; 85 stopped; else that of the training that failed.
TEXT
}

# shellcheck source=tools/steps.bash
. "$(dirname "${BASH_SOURCE[0]}")/../tools/steps.bash"
enter

readonly tool=$STANLEY_HOME/tools/time_to_quality.py
python=("$python_of_tools")
config="" target="" seeds="" ranks=2 slurm=false peer=false convert="" stage="" output=""
settings=() job_options=()
stopped=false watched=""

read_arguments() {
  while [ $# -gt 0 ]; do
    case $1 in
      -h | --help)
        usage
        exit 0
        ;;
      --slurm) slurm=true ;;
      --peer) peer=true ;;
      --target | --seeds | --set | --ranks | --convert | --stage | --output)
        [ $# -gt 1 ] || give_up 2 "$1 wants a value"
        read_value "$1" "$2"
        shift
        ;;
      --target=* | --seeds=* | --set=* | --ranks=* | --convert=* | --stage=* | --output=*)
        read_value "${1%%=*}" "${1#*=}"
        ;;
      --?*=*) job_options+=("$1") ;;
      -*) give_up 2 "unknown option $1: see jobs/time_to_quality.sh --help" ;;
      *)
        [ -z "$config" ] || give_up 2 "a second configuration, $1: one study takes one"
        config=$1
        ;;
    esac
    shift
  done
}

read_value() { # OPTION VALUE
  case $1 in
    --target) target=$2 ;;
    --seeds) seeds=$2 ;;
    --ranks) ranks=$2 ;;
    --convert) convert=$2 ;;
    --stage) stage=$2 ;;
    --output) output=$2 ;;
    --set)
      case $2 in
        run.seed=* | run.name=* | run.directory=*)
          give_up 2 "--set $2: each seed has a seed and a folder of its own; --seeds and --output choose them"
          ;;
      esac
      settings+=(--set "$2")
      ;;
  esac
}

check_arguments() {
  [ -n "$config" ] || give_up 2 "names no configuration: jobs/time_to_quality.sh CONFIG --target kid=X --seeds N"
  config=$(find_file "$config")
  [ -f "$config" ] || give_up 2 "there is no configuration $config"
  [ -n "$target" ] || give_up 2 "has no target: --target kid=X, in KID·1000 as 'stanley evaluate' prints it"
  [ -n "$seeds" ] || give_up 2 "has no seeds: --seeds 5, or --seeds 3-7"
  [[ $ranks =~ ^[1-9][0-9]*$ ]] || give_up 2 "--ranks wants a number from 1, not '$ranks'"
  $slurm || [ ${#job_options[@]} -eq 0 ] ||
    give_up 2 "unknown option ${job_options[0]}: options of sbatch go with --slurm"
  if $slurm && $peer; then
    give_up 2 "--peer trains on this machine: leave out --slurm, or --peer"
  fi
}

choose_program() { # sets program, and launch of its ranks
  program=("${STANLEY_PROGRAM:-$program_cpu}") launch=()
  if $slurm; then
    # shellcheck source=jobs/site.sh
    . "${STANLEY_SITE:-$STANLEY_HOME/jobs/site.sh}"
  fi
  command -v "${program[0]}" >/dev/null ||
    give_up 3 "there is no ${program[0]}: build it first (jobs/README.md, \"Build\")"
  if $slurm || [ "$ranks" -eq 1 ]; then return; fi
  local cores own
  cores=$(processors)
  own=$((cores / ranks))
  [ "$own" -gt 0 ] || echo "$ranks ranks share $cores cores: slower than $cores ranks would be"
  choose_mpirun "$ranks" "$own"
}

# Checks everything, and prints the seeds that are not at their end.
begin() { # [--peer]
  local arguments=("$output" --config "$config" --target "$target" --seeds "$seeds")
  $slurm || arguments+=(--ranks "$ranks")
  [ -z "$convert" ] || arguments+=(--convert "$convert")
  [ -z "$stage" ] || arguments+=(--stage "$stage")
  arguments+=(--version-of-program "$("${program[@]}" --version)")
  "${python[@]}" "$tool" begin "${arguments[@]}" "$@" <<<"$resolved"
}

# shellcheck disable=SC2317 # traps call it
stop() {
  stopped=true interrupted=true
  [ -z "$watched" ] || kill -s USR1 "$watched" 2>/dev/null || true
}

# Runs one start of a seed and its clock, in a process group of its own: Ctrl-C reaches this script alone.
watch() { # SEED [OPTIONS of the clock] -- COMMAND: sets exit_code
  set -m
  "${python[@]}" "$tool" watch "$output" "$@" </dev/null &
  watched=$!
  set +m
  await "$watched"
  watched=""
}

data_of() { # SEED: where its data file is staged; nothing without staging
  [ -n "$convert$stage" ] || return 0
  printf '%s/%s-seed-%s.h5' "${stage:-$output}" "$(basename "$output")" "$1"
}

train() { # SEED: sets exit_code
  local seed=$1 began=$EPOCHREALTIME data watching=() training
  data=$(data_of "$seed")
  training=("${launch[@]}" "${program[@]}" train "$config" "${settings[@]}" --set "run.seed=$seed"
    --run-directory "$output/seed-$seed/run")
  [ -z "$data" ] || {
    watching+=(--data "$data")
    training+=(--set "data.path=$data")
  }
  watch "$seed" --began "$began" "${watching[@]}" -- "${training[@]}"
}

train_peer() { # SEED: sets exit_code
  watch "$1" --peer --began "$EPOCHREALTIME" -- "${python[@]}" "$tool" peer "$output" "$1" -- "${program[@]}"
}

# Trains the seeds in turn. One that ends without the target is counted; one that failed ends all.
train_all() { # FUNCTION SEED...
  local how=$1 seed who
  shift
  total_steps=$#
  steps_begun=0
  for seed in "$@"; do
    who="seed $seed"
    [ "$how" = train ] || who+=" in plain PyTorch"
    step "$who, until $target"
    "$how" "$seed"
    if $stopped; then
      echo "stopped after $(elapsed): the same command goes on from there"
      exit 85
    fi
    case $exit_code in
      0 | 4) ;; # at its end
      *) give_up "$exit_code" "$who ended with exit code $exit_code: its last lines above say why; the same" \
        "command goes on" ;;
    esac
  done
}

submit() { # SEED...
  local array job seed=""
  for array in "$@"; do seed+=${seed:+,}$array; done
  if [ -z "$seed" ]; then
    echo "all seeds are at their end: nothing is submitted"
    return
  fi
  local arguments=("$output" "$(data_of '%s')" "$config" "${settings[@]}")
  job=$("$STANLEY_HOME/jobs/submit.sh" --parsable --array="$seed" --output="$output/seed-%a.log" \
    "${job_options[@]}" jobs/quality.sbatch "${arguments[@]}") || exit
  job=${job%%;*} # parsable output is JOB or JOB;CLUSTER
  "$STANLEY_HOME/jobs/submit.sh" --dependency="afterany:$job" --output="$output/table.log" \
    jobs/quality_analyze.sbatch "$output"
  echo "job $job trains the seeds $seed; when all are at their end the table is in $output/table.txt"
}

read_arguments "$@"
check_arguments
choose_program
resolved=$(ask_program --resolved "$config" "${settings[@]}") || give_up 2 "the configuration can't be used: see above"
: "${output:=runs/time_to_quality/$(ask_program --get=run.name "$config" "${settings[@]}")}"
pending=$(begin) || exit
if $peer; then pending_peers=$(begin --peer) || exit; fi

if $slurm; then
  # shellcheck disable=SC2086 # a number a line
  submit $pending
  exit
fi
trap stop INT TERM USR1
# shellcheck disable=SC2086 # a number a line
train_all train $pending
if $peer; then
  # shellcheck disable=SC2086 # a number a line
  train_all train_peer $pending_peers
fi
trap - INT TERM USR1
"${python[@]}" "$tool" table "$output"
echo "results in $output: table.txt, result.json, time_to_quality.png"
