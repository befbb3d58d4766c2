# shellcheck shell=bash
# A training in a job: runs it, reads how it ended, and requeues the job, stops it, or is done.
. jobs/job.sh

# What Slurm is told about this job. The last task of an array has the array's number as its SLURM_JOB_ID,
# and with that Slurm would requeue all tasks.
this_job=${SLURM_JOB_ID:-}
[ -z "${SLURM_ARRAY_JOB_ID:-}" ] || this_job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID

# run.json's word comes first, since launchers can lose an exit code. It is this start's if there are
# more stops in it than before.
read_record() { # sets stops, verdict, recorded_code
  local record
  record=$("${python[@]}" - "$run_directory/run.json" <<'PY'
import json, sys

try:
    with open(sys.argv[1], encoding="utf-8") as file:
        record = json.load(file)
except (OSError, ValueError):
    record = {}
stops = record.get("stops", [])
print(len(stops), record.get("verdict", "none"), stops[-1]["exit_code"] if stops else "none")
PY
  )
  read -r stops verdict recorded_code <<<"$record"
}

# The newest checkpoint and when it was made: another text as soon as there is another checkpoint.
newest_checkpoint() {
  local latest=$run_directory/checkpoints/latest
  [ -e "$latest" ] || { echo none && return; }
  echo "$(readlink "$latest")@$(stat --dereference --format=%Y "$latest")"
}

# Lustre: files that many ranks write go over many targets. It holds for files made later.
stripe() {
  [ -n "$stripe_count" ] && [ ! -e "$run_directory" ] || return 0
  mkdir -p "$run_directory"
  lfs setstripe --stripe-count "$stripe_count" "$run_directory" ||
    say "$run_directory can't be striped (stripe_count in jobs/site.sh): goes on without"
}

log_size() { stat --dereference --format=%s /proc/$$/fd/2 2>/dev/null || echo 0; }

# The node of the first rank that a signal ended, as srun or mpirun told it in the job's log.
failed_node() {
  tail -c "+$((log_before + 1))" /proc/$$/fd/2 2>/dev/null | sed -nE \
    -e 's/^srun: error: ([^:]+): tasks? .*: (Killed|Aborted|Terminated|Bus error|Segmentation fault).*/\1/p' \
    -e 's/^mpirun noticed that process rank .* on node ([^ ]+) exited on signal.*/\1/p' | head -n 1
}

exclude_failed_node() {
  local node excluded
  node=$(failed_node)
  [ -n "$node" ] || return 0
  excluded=$(squeue --noheader --jobs="$this_job" --format=%x)
  [[ $excluded =~ ^(\(null\)|N/A)?$ ]] || node=$excluded,$node
  scontrol update JobId="$this_job" ExcNodeList="$node" && say "starts again without $node"
}

# Restarts in a row without a new checkpoint, this one included. A chain's jobs count together.
count_fruitless() {
  local job=${STANLEY_CHAIN:-$SLURM_JOB_ID} checkpoint
  checkpoint=$(newest_checkpoint)
  local restarts=$run_directory/restarts.tsv
  mkdir -p "$run_directory"
  printf '%s\t%s\t%s\t%s\t%s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$job" "$SLURM_JOB_NODELIST" "$1" \
    "$checkpoint" >>"$restarts"
  [ "$checkpoint" = "$checkpoint_before" ] || { echo 0 && return; }
  tac "$restarts" | awk -F'\t' -v job="$job" -v checkpoint="$checkpoint" \
    '$2 != job || $5 != checkpoint { exit } { ++count } END { print count + 0 }'
}

start_again() { # EXIT_CODE WHY
  local code=$1 why=$2 fruitless
  fruitless=$(count_fruitless "$code")
  if [ "$fruitless" -gt "$fruitless_restarts" ]; then
    stop_job "$code" "$why, and $fruitless_restarts restarts brought no new checkpoint" \
      "(fruitless_restarts in jobs/site.sh): the log says why; submitted again, it goes on"
  fi
  if [ -n "${STANLEY_CHAIN:-}" ]; then
    say "$why: the chain's next job goes on"
    exit "$code"
  fi
  say "$why: requeues the job"
  trap '' TERM # Slurm ends this script as soon as the job is requeued
  scontrol requeue "$this_job" || {
    say "the job can't be requeued here: submit it again, or use jobs/chain.sh"
    exit "$code"
  }
  if $exclude_failed_nodes; then exclude_failed_node; fi
  exit "$code"
}

stop_job() { # EXIT_CODE WHY...
  local code=$1
  shift
  say "stops: $*"
  end_chain
  exit "$code"
}

# Nothing is left for the jobs that wait for this one in a chain.
end_chain() {
  [ -z "${STANLEY_CHAIN:-}" ] || scancel --quiet --state=PENDING --name="$STANLEY_CHAIN" || true
}

# Ends the job as the training's end asks for.
conclude() {
  local code=$exit_code stops_before=$stops
  read_record
  [ "$stops" -eq "$stops_before" ] || code=$recorded_code
  if [ "$code" -eq 0 ] && [ "$verdict" != finished ]; then
    start_again 1 "the launcher ended, but not the training" # exit code 0 would lose the run
  fi
  case $code in
    0)
      say "finished: $run_directory"
      end_chain
      exit 0
      ;;
    2) stop_job 2 "usage or configuration: see above" ;;
    3) stop_job 3 "environment (device, driver, launcher, library): see above" ;;
    4) stop_job 4 "the training diverged: see above; its checkpoints stay in $run_directory" ;;
    5) stop_job 5 "input or output failed: see above; submitted again, it goes on from the newest checkpoint" ;;
    70) stop_job 70 "a bug of stanley: see above, and please report it" ;;
    85) start_again 85 "stopped with a checkpoint" ;;
    6) start_again 6 "communication failed, or the run hung" ;;
    *) start_again "$code" "the ranks ended with code $code and without a verdict" ;;
  esac
}

# Runs `stanley train` with these arguments to its end, and ends the job.
train() { # CONFIG OPTIONS...
  local settings log_before checkpoint_before
  check_program
  settings=$("${python[@]}" tools/run_settings.py "$@")
  { read -r _ && read -r run_directory; } <<<"$settings"
  say "start $((${SLURM_RESTART_COUNT:-0} + 1)) on ${SLURM_JOB_NODELIST:-this machine}: $*"
  stripe
  read_record
  checkpoint_before=$(newest_checkpoint)
  log_before=$(log_size)
  launch train "$@"
  case " $* " in *" --dry-run "*) exit "$exit_code" ;; esac
  conclude
}
