#!/usr/bin/env bash
# A scaling study: the same binary and configuration on several numbers of nodes, several times each,
# then the table and the plot.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: jobs/scaling.sh weak|strong CONFIG --nodes 1,2,4,8 [--local] [options] [-- stanley options]

weak:   chains.total, chains.active, chains.shards and data.batch of CONFIG are those of one rank;
        they are multiplied by the ranks.
strong: all of them stay as CONFIG has them.

Through Slurm (as jobs/site.sh says) each number of nodes is a job; the last one to end draws the
whole plot. With --local they are numbers of ranks, run with mpirun on this machine, in turn.

  --repeats N     runs of each size (default 3)
  --warmup N      iterations before those that are measured (default 5)
  --iterations N  iterations that are measured (default 20)
  --threads N     threads of each rank, --local (default 1)
  --output DIR    folder for results.jsonl, table.txt and scaling.png
                  (default runs/scaling-weak or runs/scaling-strong)
What follows -- goes to 'stanley benchmark', for example -- --set sampler.steps=40
Again into the same folder: its results are kept, and the new ones are added.
TEXT
}

# shellcheck source=tools/steps.bash
. "$(dirname "${BASH_SOURCE[0]}")/../tools/steps.bash"
enter

readonly python=$python_of_tools
study="" config="" nodes="" local=false repeats=3 warmup=5 iterations=20 threads=1 output=""
options=()

count() { # OPTION VALUE: the value, if it is a number from 1
  [[ $2 =~ ^[1-9][0-9]*$ ]] || give_up 2 "$1 wants a number from 1, not '$2'"
  printf '%s' "$2"
}

read_arguments() {
  while [ $# -gt 0 ]; do
    case $1 in
      -h | --help)
        usage
        exit 0
        ;;
      --local) local=true ;;
      --nodes | --repeats | --warmup | --iterations | --threads | --output)
        [ $# -gt 1 ] || give_up 2 "$1 wants a value"
        read_value "$1" "$2"
        shift
        ;;
      --)
        shift
        options=("$@")
        break
        ;;
      -*) give_up 2 "unknown option $1: see jobs/scaling.sh --help, and put stanley's options after --" ;;
      *) read_word "$1" ;;
    esac
    shift
  done
  [ -n "$study" ] || give_up 2 "which study? jobs/scaling.sh weak|strong CONFIG --nodes 1,2,4"
  [ -n "$config" ] || give_up 2 "names no configuration: jobs/scaling.sh $study CONFIG --nodes 1,2,4"
  config=$(find_file "$config")
  [ -f "$config" ] || give_up 2 "there is no configuration $config in $PWD"
  [[ $nodes =~ ^[1-9][0-9]*(,[1-9][0-9]*)*$ ]] ||
    give_up 2 "--nodes wants numbers from 1 with commas between them (1,2,4,8), not '$nodes'"
  : "${output:=runs/scaling-$study}"
}

read_value() { # OPTION VALUE
  case $1 in
    --nodes) nodes=$2 ;;
    --output) output=$2 ;;
    --repeats) repeats=$(count "$@") ;;
    --warmup) warmup=$(count "$@") ;;
    --iterations) iterations=$(count "$@") ;;
    --threads) threads=$(count "$@") ;;
  esac
}

read_word() { # WORD: the study, then the configuration
  if [ -z "$study" ]; then
    case $1 in
      weak | strong) study=$1 ;;
      *) give_up 2 "a study is weak or strong, not '$1'" ;;
    esac
  elif [ -z "$config" ]; then
    config=$1
  else
    give_up 2 "a second configuration, $1: one study takes one"
  fi
}

# Each rank on cores of its own, where there are enough.
run_here() { # RANKS REPEAT
  local launch mpirun_is line cores own=$threads
  cores=$(processors)
  if [ $(($1 * threads)) -gt "$cores" ]; then
    echo "$1 ranks of $threads threads share $cores cores: their speed-up says nothing, their split does"
    own=0
  fi
  choose_mpirun "$1" "$own"
  line=$("${launch[@]}" "${program[@]}" "${benchmark[@]}" --set run.threads="$threads") ||
    give_up $? "stanley ended with exit code $? on $1 ranks: its last lines above say why"
  "$python" "$STANLEY_HOME/tools/plot_scaling.py" "$output" --add "$study" "$2" <<<"$line"
}

run_on_this_machine() {
  program=("${STANLEY_PROGRAM:-$program_cpu}")
  command -v "${program[0]}" >/dev/null ||
    give_up 3 "there is no ${program[0]}: build it first (jobs/README.md, \"Build\")"
  export OMPI_MCA_mpi_yield_when_idle=${OMPI_MCA_mpi_yield_when_idle:-1}
  local repeat ranks
  # In turn, so that what disturbs the machine for a while disturbs every size.
  for ((repeat = 1; repeat <= repeats; ++repeat)); do
    for ranks in ${nodes//,/ }; do
      run_here "$ranks" "$repeat"
    done
  done
  "$python" "$STANLEY_HOME/tools/plot_scaling.py" "$output"
}

submit() {
  local count
  for count in ${nodes//,/ }; do
    "$STANLEY_HOME/jobs/submit.sh" --nodes="$count" jobs/scaling.sbatch "$study" "$output" "$repeats" "${benchmark[@]}"
  done
  echo "results come to $output: the last job to end draws $output/scaling.png"
}

read_arguments "$@"
mkdir -p "$output"
benchmark=(benchmark "$config" --json --seconds 2 --warmup "$warmup" --iterations "$iterations"
  --directory "$output" "${options[@]}")
[ "$study" != weak ] || benchmark+=(--weak)
if $local; then run_on_this_machine; else submit; fi
