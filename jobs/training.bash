# shellcheck shell=bash
# A training in a job: runs it, reads how it ended, and requeues the job, stops it, or is done.
# shellcheck source=jobs/job.bash
. "$STANLEY_HOME/jobs/job.bash"

# What Slurm is told about this job. The last task of an array has the array's number as its SLURM_JOB_ID,
# and with that Slurm would requeue all tasks.
this_job=${SLURM_JOB_ID:-}
[ -z "${SLURM_ARRAY_JOB_ID:-}" ] || this_job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID

# What run.json says. A file that can't be read, or that another program has written, says nothing.
read_record() { # sets starts, stops, verdict and, of the last stop, recorded_code, failed_host, asked_by
  local record
  record=$("${python[@]}" - "$run_directory/run.json" <<'PY'
import json, sys

try:
    with open(sys.argv[1], encoding="utf-8") as file:
        record = json.load(file)
    starts, stops = record.get("starts", []), record.get("stops", [])
    last = stops[-1] if stops else {}
    said = [len(starts), len(stops), record.get("verdict")]
    said += [last.get(key) for key in ("exit_code", "host", "asked_by")]
except (OSError, ValueError, TypeError, AttributeError, LookupError):
    said = [0, 0, None, None, None, None]
print(*("none" if one is None else one for one in said), sep="\n")
PY
  )
  { read -r starts && read -r stops && read -r verdict && read -r recorded_code &&
    read -r failed_host && read -r asked_by; } <<<"$record"
}

# A line for each checkpoint and when it was made, the newest last. The link `latest` can point to one that
# a roll-back has put aside.
checkpoints() {
  find "$run_directory/checkpoints/" -maxdepth 1 -name 'iteration-*.h5' -printf '%T@ %f@%T@\n' 2>/dev/null |
    sort -n | sed 's/^[^ ]* //' || true
}

newest_checkpoint() { checkpoints | tail -n 1 | grep . || echo none; }

# Those that this start has brought: a roll-back makes an older one the newest, but brings none.
new_checkpoints() { comm -13 <(sort <<<"$checkpoints_before") <(checkpoints | sort); }

# Lustre: files that many ranks write go over many targets, the run's small ones don't. It holds for files
# made later.
stripe() {
  [ -n "$stripe_count" ] || return 0
  local folder
  for folder in "$run_directory"/{checkpoints,samples}; do
    [ ! -e "$folder" ] || continue
    mkdir -p "$folder" || return 0 # the program says more
    lfs setstripe --stripe-count "$stripe_count" "$folder" ||
      say "$folder can't be striped (stripe_count in jobs/site.sh): goes on without"
  done
}

log_size() { stat --dereference --format=%s /proc/$$/fd/2 2>/dev/null || echo 0; }

# What this start wrote to the job's log. (From a pipe or a terminal reading would not end.)
new_log() {
  [ -f /proc/$$/fd/2 ] || return 0
  tail -c "+$((log_before + 1))" /proc/$$/fd/2 2>/dev/null || true
}

# The node of the rank that ended first, if a signal ended it, as srun or mpirun (prterun since Open MPI 5)
# told it in the job's log. srun kills the others, and tells that too. MPICH's mpirun needs several lines.
node_of_killed_rank() {
  new_log | sed -nE \
    -e '/^srun: error: [^:]+: tasks? [^:]+: /{' \
    -e 's/^srun: error: ([^:[]+): tasks? [^:]+: (Killed|Aborted|Terminated|Bus error|Segmentation fault).*/\1/p' \
    -e 'q' -e '}' \
    -e '/^=   PID [0-9]+ RUNNING AT /{s/.* AT //;h}' -e '/ EXIT STRING: .*\(signal [0-9]+\)/{x;p}' \
    -e 's/^(mpirun|prterun) noticed that process rank .* on node ([^ ]+) exited on.*/\2/p' | head -n 1 || true
}

# The signal that ended a rank, where MPICH's mpirun told it: that one's exit code is the bare number, which
# would pass for one of the program's.
signal_of_killed_rank() { new_log | sed -nE 's/.* EXIT STRING: .*\(signal ([0-9]+)\).*/\1/p' | head -n 1 || true; }

# This job's node of that host name, from which Slurm may leave out the domain.
node_of_host() { # HOST
  scontrol show hostnames "$SLURM_JOB_NODELIST" | grep -xF -e "$1" -e "${1%%.*}" | head -n 1 || true
}

# The jobs that go on: this one, requeued, or those that wait in its chain.
next_jobs() {
  [ -n "${STANLEY_CHAIN:-}" ] || { echo "$this_job" && return; }
  squeue --noheader --states=PENDING --name="$STANLEY_CHAIN" --format=%i
}

exclude_failed_node() { # EXIT_CODE
  local node job excluded
  if [ "$1" -eq 3 ]; then node=$(node_of_host "$failed_host"); else node=$(node_of_killed_rank); fi
  [ -n "$node" ] || return 0
  for job in $(next_jobs); do
    excluded=$(squeue --noheader --jobs="$job" --format=%x)
    [[ ! $excluded =~ ^(\(null\)|N/A)?$ ]] || excluded=""
    if scontrol update JobId="$job" ExcNodeList="${excluded:+$excluded,}$node"; then
      say "starts again without $node"
    else
      say "$node can't be left out at the next start"
    fi
  done
}

# Restarts in a row without a new checkpoint, this one included. A chain's jobs count together.
count_fruitless() { # EXIT_CODE; fails where the restart can't be written down
  local job=${STANLEY_CHAIN:-$SLURM_JOB_ID} checkpoint written=true
  checkpoint=$(newest_checkpoint)
  local restarts=$run_directory/restarts.tsv
  mkdir -p "$run_directory"
  printf '%s\t%s\t%s\t%s\t%s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$job" "$SLURM_JOB_NODELIST" "$1" \
    "$checkpoint" >>"$restarts" || written=false
  [ -z "$(new_checkpoints)" ] || { echo 0 && return; }
  $written || return 1
  tac "$restarts" | awk -F'\t' -v job="$job" -v checkpoint="$checkpoint" \
    '$2 != job || $5 != checkpoint { exit } { ++count } END { print count + 0 }'
}

start_again() { # EXIT_CODE WHY
  local code=$1 why=$2 fruitless
  if [ -z "$this_job" ]; then
    say "$why: the same command goes on"
    exit "$code"
  fi
  fruitless=$(count_fruitless "$code") ||
    stop_job "$code" "$why, and $run_directory/restarts.tsv can't be written: submitted again, it goes on"
  if [ "$fruitless" -gt "$fruitless_restarts" ]; then
    stop_job "$code" "$why, and $fruitless_restarts restarts brought no new checkpoint" \
      "(fruitless_restarts in jobs/site.sh): the log says why; submitted again, it goes on"
  fi
  if [ -n "${STANLEY_CHAIN:-}" ]; then
    say "$why: the chain's next job goes on"
  else
    say "$why: requeues the job"
    trap '' TERM # Slurm ends this script as soon as the job is requeued
    scontrol requeue "$this_job" || {
      say "the job can't be requeued here: submit it again, or use jobs/chain.sh"
      exit "$code"
    }
  fi
  if $exclude_failed_nodes; then exclude_failed_node "$code"; fi
  exit "$code"
}

# A node or a moment of the file system may be what failed, where the training got on until then. Not where
# this start was refused, or another job has begun in the run directory: those checkpoints aren't its own.
start_again_if_it_got_on() { # EXIT_CODE WHAT ADVICE
  if [ "$starts" -eq $((starts_before + 1)) ] && [ -n "$(new_checkpoints)" ]; then
    start_again "$1" "$2, after a new checkpoint"
  fi
  stop_job "$1" "$2: $3"
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

# Ends the job as the training's end asks for. run.json's word comes first, since launchers can lose an exit
# code; it is this start's if the number of stops has changed.
conclude() {
  local code=$exit_code starts_before=$starts stops_before=$stops signal
  signal=$(signal_of_killed_rank)
  [ -z "$signal" ] || code=$((128 + signal))
  read_record
  if [ "$stops" -ne "$stops_before" ] && [[ $recorded_code =~ ^[0-9]+$ ]]; then
    code=$recorded_code
  else
    failed_host=none asked_by=none
  fi
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
    3) start_again_if_it_got_on 3 "environment (device, driver, launcher, library)" "see above" ;;
    4) stop_job 4 "the training diverged: see above; its checkpoints stay in $run_directory" ;;
    5)
      start_again_if_it_got_on 5 "input or output failed" \
        "see above; submitted again, it goes on from the newest checkpoint"
      ;;
    70) stop_job 70 "a bug of stanley: see above, and please report it" ;;
    85)
      [ "$asked_by" != run.until ] ||
        stop_job 85 "run.until has come, and a checkpoint is written: submitted again with a later run.until," \
          "or without it, it goes on"
      start_again 85 "stopped with a checkpoint"
      ;;
    6) start_again 6 "communication failed, or the run hung" ;;
    *) start_again "$code" "the ranks ended with code $code and without a verdict" ;;
  esac
}

# What a job script does before the end is judged; it may end the job itself.
after_training() { :; }

# Runs `stanley train` with these arguments to its end, and ends the job.
train() { # CONFIG OPTIONS...
  local log_before checkpoints_before
  check_program
  run_directory=$(ask_program --directory "$@") || {
    exit_code=$?
    [ "$exit_code" -ne 2 ] || stop_job 2 "usage or configuration: see above"
    give_up "$exit_code" "'stanley config' failed: see above"
  }
  say "start $((${SLURM_RESTART_COUNT:-0} + 1)) on ${SLURM_JOB_NODELIST:-this machine}: $*"
  stripe
  read_record
  checkpoints_before=$(checkpoints)
  log_before=$(log_size)
  launch train "$@"
  case " $* " in *" --dry-run "*) exit "$exit_code" ;; esac
  after_training
  conclude
}
