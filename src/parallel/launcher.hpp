#pragma once

#include <map>
#include <string>

namespace stanley {

using Environment = std::map<std::string, std::string>;

/// The environment variables of this process.
Environment process_environment();

/// What the environment says about who started this process.
struct Launcher {
  bool connects = false;  ///< a process manager that MPI_Init can talk to is there
  int ranks = 1;          ///< how many ranks were asked for
  int rank = 0;           ///< which of them this is
  std::string evidence;   ///< the variables that say so: "SLURM_STEP_NUM_TASKS=4"
};

/// Reads Open MPI's, PMIx's, PMI's and Slurm's variables. A process inside a Slurm job but outside
/// of a step (no srun) has no launcher: it runs alone.
Launcher launcher_from(const Environment& environment);

/// Throws Error(ExitCode::environment) if more ranks were asked for than `world_size`, the number
/// that found each other, because the launcher and MPI don't speak the same language.
void check_launcher(const Launcher& launcher, int world_size);

}  // namespace stanley
