# shellcheck shell=bash disable=SC2034 # others read what is set here
# What is particular to your cluster. Edit it once; jobs/submit.sh reads it where you submit, and each
# job reads it on its nodes. STANLEY_SITE=/another/file takes that file instead of this one.

# --- kind of node: nvidia or cpu ---------------------------------------------------------------------
# As it is: nvidia where stanley has been built with the preset `cuda`, and so needs that LibTorch.
# shellcheck source=tools/steps.bash
[ -n "${program_cuda:-}" ] || . tools/steps.bash # in a shell that builds stanley
if [ -z "${node_kind:-}" ]; then
  node_kind=cpu
  if grep -qs 'libtorch_cuda\.so' "$program_cuda"; then node_kind=nvidia; fi
fi

# --- what the program needs on a node ----------------------------------------------------------------
# The modules that stanley was built with, in the versions of your cluster, for example
#   module purge
#   module load gcc/13 openmpi/5.0 hdf5/1.14-mpi cuda/13.0
python=("$python_of_tools")
# A container instead (jobs/container.def): python and, below, program from it, for example
#   python=(apptainer exec stanley.sif python3)
#   program=(apptainer exec stanley.sif stanley)

# --- what sbatch asks for -----------------------------------------------------------------------------
# For every job; what you write in the submission itself comes after these and wins.
account=   # --account, where your cluster wants one
partition= # --partition for training; empty: the cluster's default
qos=       # --qos, where your cluster wants one
constraint= # --constraint, such as gpu where that is how it tells its nodes apart
time=      # --time of a job, such as 12:00:00; empty: the partition's default
case $node_kind in
  nvidia)
    program=("$program_cuda")
    gpus_per_node=4 # one rank for each
    ranks_per_node=$gpus_per_node
    cores_per_rank=8
    ;;
  cpu)
    program=("$program_cpu")
    gpus_per_node=0
    ranks_per_node=2 # one for each socket, so that a rank's memory is near
    cores_per_rank=1 # with whole nodes (--exclusive) a rank gets its share of all cores
    ;;
esac
# One rank for each GPU, and GPUs by node: ranks of a node then see each other's GPUs, which NCCL's
# fastest ways need. --gpus-per-task works too, and so does a cluster that gives whole nodes unasked.
# Cores by node and no number of tasks: Slurm keeps that of the first start, and a job of --nodes=1-4
# that was requeued could then never start on fewer nodes.
sbatch_options=(--mincpus="$((ranks_per_node * cores_per_rank))")
[ "$gpus_per_node" -eq 0 ] || sbatch_options+=(--gpus-per-node="$gpus_per_node")
[ -z "$partition" ] || sbatch_options+=(--partition="$partition")
[ -z "$account" ] || sbatch_options+=(--account="$account")
[ -z "$qos" ] || sbatch_options+=(--qos="$qos")
[ -z "$constraint" ] || sbatch_options+=(--constraint="$constraint")
[ -z "$time" ] || sbatch_options+=(--time="$time")

# For jobs/analyze.sbatch, which needs one core and no GPU.
analysis_partition=
analysis_options=(--nodes=1 --ntasks=1)
[ -z "$analysis_partition" ] || analysis_options+=(--partition="$analysis_partition")
[ -z "$account" ] || analysis_options+=(--account="$account")

# --- how ranks are started -----------------------------------------------------------------------------
# srun, or mpirun where Slurm and the MPI that stanley was built with have no language in common.
launcher=srun
srun_mpi=pmix       # that language, of those of `srun --mpi=list`: pmix or a version of it, such as pmix_v4
                    # (Open MPI, ParaStation); pmi2 (MPICH, MVAPICH); cray_shasta (Cray MPICH)
mpirun=mpirun       # that of the same MPI: Open MPI's, MPICH's (mpirun.mpich on Debian) or Intel's
launcher_options=() # more for srun or mpirun
# Nodes that reach each other by TCP alone: Open MPI then sends long messages without asking first, for
# over a slow link the answer waits behind other messages (reductions took up to 1.5 times as long).
# export OMPI_MCA_btl_tcp_flags=1 OMPI_MCA_btl_tcp_eager_limit=2097152

# --- files ----------------------------------------------------------------------------------------------
# Lustre: over how many targets a run's checkpoints and draws are striped, such as 8; empty: as the folder is.
# MPI-IO's hint striping_factor (checkpoint.hints) comes too late for that: the file is already made.
stripe_count=
export HDF5_USE_FILE_LOCKING=FALSE # many parallel file systems refuse HDF5's locks; one run owns its directory

# --- requeueing -----------------------------------------------------------------------------------------
fruitless_restarts=3       # restarts in a row that brought no new checkpoint, after which a job gives up
# true: a node whose rank was killed, or told of its environment (exit code 3), isn't asked for at the job's
# next start.
exclude_failed_nodes=false
