#!/usr/bin/env bash
# Submits one of jobs/*.sbatch with what jobs/site.sh says of this cluster.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: jobs/submit.sh [options of sbatch] JOB [arguments of the job]

Calls sbatch with the account, partition, GPUs and ranks of jobs/site.sh, and with your options,
which win. It prints what sbatch prints. For example
  jobs/submit.sh --nodes=4 --time=12:00:00 jobs/train.sbatch configs/cifar10.yaml
  jobs/submit.sh --dependency=afterok:JOBID jobs/analyze.sbatch runs/cifar10
  jobs/submit.sh --test-only --nodes=4 jobs/train.sbatch configs/cifar10.yaml
TEXT
}

# shellcheck source=tools/steps.bash
. "$(dirname "${BASH_SOURCE[0]}")/../tools/steps.bash"
enter

case ${1:-} in
  '' | -h | --help)
    usage
    exit 0
    ;;
esac
# shellcheck source=jobs/site.sh
. "${STANLEY_SITE:-$STANLEY_HOME/jobs/site.sh}"
command -v sbatch >/dev/null || give_up 3 "there is no sbatch here: jobs are submitted on a cluster's login node"

job="" arguments=("$@")
for i in "${!arguments[@]}"; do
  argument=${arguments[$i]}
  [[ $argument == *.sbatch ]] || continue
  arguments[i]=$(find_file "$argument")
  [[ $argument != *analyze.sbatch ]] || sbatch_options=("${analysis_options[@]}")
  job=$argument
  break
done
[ -n "$job" ] || give_up 2 "no job among the arguments: name one of jobs/*.sbatch (jobs/submit.sh --help)"
# The job needs STANLEY_HOME, STANLEY_SITE and STANLEY_CHAIN, and some clusters set SBATCH_EXPORT=NONE.
exec sbatch --export=ALL "${sbatch_options[@]}" "${arguments[@]}"
