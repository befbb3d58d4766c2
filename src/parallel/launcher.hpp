#pragma once

#include <map>
#include <string>

namespace stanley {

using Environment = std::map<std::string, std::string>;

/// The environment variables of this process.
Environment process_environment();

/// The variable's value; empty where it is not set.
std::string value_of(const Environment& environment, const std::string& name);

/// What the environment says about who started this process.
struct Launcher {
  bool connects = false;  ///< a process manager that MPI_Init can talk to is there
  int ranks = 1;          ///< how many ranks were asked for
  int rank = 0;           ///< which of them this is
  std::string evidence;  ///< the variables that were seen: "SLURM_STEP_NUM_TASKS=4, SLURM_PROCID=0"
};

/// What the launchers that we know left in the environment (Open MPI, MPICH, MVAPICH2, PMIx, PMI,
/// Cray PALS, Flux, Slurm). A process inside a Slurm job but outside of a step (no srun) has no
/// launcher: it runs alone.
Launcher launcher_seen(const Environment& environment);

/// The same, where STANLEY_MPI doesn't overrule it: "yes" has MPI started whatever was seen, "no"
/// has this process run alone. Throws Error(ExitCode::environment) for another value.
Launcher launcher_from(const Environment& environment);

/// Throws Error(ExitCode::environment) if more ranks were asked for than `world_size`, the number
/// that found each other, because the launcher and MPI don't speak the same language. `library` is
/// the name of the MPI library.
void check_launcher(const Launcher& launcher, int world_size, const std::string& library);

}  // namespace stanley
