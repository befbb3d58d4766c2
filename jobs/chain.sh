#!/usr/bin/env bash
# A training where jobs may not requeue themselves: a chain of jobs, each of which goes on where the
# one before it stopped.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: jobs/chain.sh N [options of sbatch] JOB [arguments of the job]

Submits N jobs, each of which waits for the one before it, and prints their numbers. As soon as the
training has finished, has come to its run.until, or has ended in a way that another start does not
help, those that still wait are cancelled. For example
  jobs/chain.sh 5 --nodes=4 --time=4:00:00 jobs/train.sbatch configs/cifar10.yaml
TEXT
}

case ${1:-} in
  '' | -h | --help)
    usage
    exit 0
    ;;
esac
# shellcheck source=tools/steps.bash
. "$(dirname "${BASH_SOURCE[0]}")/../tools/steps.bash"
[[ $1 =~ ^[1-9][0-9]*$ ]] || give_up 2 "the first argument is the number of jobs, not '$1'"
links=$1
shift

# The jobs of a chain know each other by this name.
STANLEY_CHAIN=stanley-chain-$(date +%Y%m%d-%H%M%S)-$$
export STANLEY_CHAIN
options=(--parsable --no-requeue --job-name="$STANLEY_CHAIN")
previous=()
for ((link = 1; link <= links; ++link)); do
  # Parsable output is JOB or JOB;CLUSTER.
  job=$("$(dirname "${BASH_SOURCE[0]}")/submit.sh" "${options[@]}" "${previous[@]}" "$@") || exit
  echo "${job%%;*}"
  previous=(--dependency="afterany:${job%%;*}")
done
