# shellcheck shell=bash
# What the job scripts share: where they run, how ranks are started, what follows from how a training
# ended. Slurm runs a copy of a job script, so that they find this file from where they were submitted.
# shellcheck source=tools/steps.bash
. "$STANLEY_HOME/tools/steps.bash"
# shellcheck source=jobs/site.sh
. "${STANLEY_SITE:-$STANLEY_HOME/jobs/site.sh}"

launched=""         # the process that starts the ranks, while it runs
asked_to_stop=false # by a signal
ranks=""            # how many, where a job script wants a number of its own
watcher=()          # what runs the launcher, where a job script wants to look at the training

say() { printf '%s %s: %s\n' "$(date +%H:%M:%S)" "job ${SLURM_JOB_ID:-without Slurm}" "$*"; }

# The program and its launcher are there; a sentence for what isn't.
check_program() {
  : "${srun_mpi:=${pmix:-pmix}}" "${mpirun:=mpirun}" # a site.sh of release 0.1 has `pmix` alone
  command -v "${program[0]}" >/dev/null || give_up 3 "there is no ${program[0]}: build it" \
    "(jobs/README.md, \"Build\"), or name yours in jobs/site.sh"
  command -v "${python[0]}" >/dev/null || give_up 3 "there is no ${python[0]}: run tools/setup.sh in a" \
    "checkout, load a Python for an installed tree, or name yours in jobs/site.sh"
  case $launcher in
    srun)
      local plugins # read to its end: an srun that grep leaves early is killed, and that counts as "no"
      plugins=$(srun --mpi=list 2>&1) || true
      grep -qw -- "$srun_mpi" <<<"$plugins" || give_up 3 "this Slurm has no '$srun_mpi' ('srun --mpi=list'" \
        "says what it has): set srun_mpi in jobs/site.sh to one that the MPI of stanley speaks, or set" \
        "launcher=mpirun there"
      ;;
    mpirun)
      command -v "$mpirun" >/dev/null || give_up 3 "there is no $mpirun: load the MPI that stanley was" \
        "built with in jobs/site.sh, or set launcher=srun there"
      ;;
    *) give_up 3 "launcher=$launcher in jobs/site.sh: it takes srun or mpirun" ;;
  esac
}

# A rank's cores: what the submission asked for, else its share of the node with the fewest. Since Slurm
# 22.05 srun no longer takes the job's cores per rank over by itself.
cores_of_rank() {
  local on_node
  on_node=$(tr ',' '\n' <<<"${SLURM_JOB_CPUS_PER_NODE:-1}" | sed 's/(.*//' | sort -n | head -n 1)
  echo "${SLURM_CPUS_PER_TASK:-$((on_node > ranks_per_node ? on_node / ranks_per_node : 1))}"
}

launch_command() { # sets launch
  if [ "$launcher" = srun ]; then
    # The ranks get this script's variables, even where the job itself was submitted with --export=NONE.
    launch=(srun --export=ALL --mpi="$srun_mpi" --kill-on-bad-exit=1)
    # Unless the submission named a number of tasks.
    [ -n "${SLURM_NTASKS:-}" ] || launch+=(--ntasks-per-node="$ranks_per_node" --cpus-per-task="$(cores_of_rank)")
    [ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
    # Whole nodes given without a word about GPUs: a step gets none of them unless it asks.
    local asked=${SLURM_GPUS:-}${SLURM_GPUS_PER_NODE:-}${SLURM_GPUS_PER_TASK:-}${SLURM_GPUS_PER_SOCKET:-}
    [ -n "$asked" ] || [ -z "${SLURM_GPUS_ON_NODE:-}" ] || launch+=(--gpus-per-node="$SLURM_GPUS_ON_NODE")
    launch+=("${launcher_options[@]}")
    [ -z "$ranks" ] || launch+=(--ntasks="$ranks")
    return
  fi
  # Ranks share their node's cores by themselves.
  if [ "$(mpirun_kind "$mpirun")" = openmpi ]; then
    launch=("$mpirun" --bind-to none)
    [ -n "${SLURM_NTASKS:-}" ] || launch+=(--map-by "ppr:$ranks_per_node:node")
    [ -z "$ranks" ] || launch+=(-n "$ranks")
    if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
  else
    launch=("$mpirun" -n "${ranks:-${SLURM_NTASKS:-$((${SLURM_JOB_NUM_NODES:-1} * ranks_per_node))}}")
    [ -n "${SLURM_NTASKS:-}" ] || launch+=(-ppn "$ranks_per_node")
  fi
  launch+=("${launcher_options[@]}")
}

# Slurm warns this script (--signal=B:USR1), since srun and mpirun both hand USR1 and USR2 on to their
# ranks, but MPICH's mpirun, which dies of USR2. A TERM to the whole job reaches the ranks without us.
# shellcheck disable=SC2317 # traps call it
pass_on() { # SIGNAL
  interrupted=true
  [ "$1" != USR1 ] || asked_to_stop=true
  say "got $1"
  if [ "$1" = USR2 ] && [ "$launcher" = mpirun ] && [ "$(mpirun_kind "$mpirun")" != openmpi ]; then
    say "$mpirun can't hand USR2 on: no checkpoint"
    return
  fi
  if [ -n "$launched" ] && [ "$1" != TERM ]; then kill -s "$1" "$launched" 2>/dev/null || true; fi
}
trap 'pass_on USR1' USR1
trap 'pass_on USR2' USR2
trap 'pass_on TERM' TERM

# Runs the program on all ranks; sets exit_code.
launch() { # ARGUMENTS of the program
  local launch
  launch_command
  # shellcheck disable=SC2034 # for the job scripts
  exit_code=85
  if $asked_to_stop; then return; fi
  "${watcher[@]}" "${launch[@]}" "${program[@]}" "$@" </dev/null &
  launched=$!
  await "$launched"
  launched=""
}
