#include "parallel/launcher.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "config/error.hpp"

namespace stanley {
namespace {

enum class Tells { presence, ranks, rank };

struct Variable {
  const char* name;
  Tells tells;
  bool connects;  ///< its launcher runs a process manager that MPI_Init can talk to
};

// What launchers leave in the environment of a rank, the innermost launcher first: mpirun and Flux
// start their helpers through srun, so that ranks inherit Slurm's variables.
constexpr Variable known_variables[] = {
    // Open MPI's mpirun
    {"OMPI_COMM_WORLD_SIZE", Tells::ranks, true},
    {"OMPI_COMM_WORLD_RANK", Tells::rank, true},
    // MVAPICH2's mpirun_rsh
    {"MV2_COMM_WORLD_SIZE", Tells::ranks, true},
    {"MV2_COMM_WORLD_RANK", Tells::rank, true},
    // PMIx: srun --mpi=pmix, prterun, ParaStation
    {"PMIX_RANK", Tells::rank, true},
    {"PMIX_NAMESPACE", Tells::presence, true},
    // PMI-1 and PMI-2: mpirun of MPICH and of Intel MPI, srun --mpi=pmi2, Flux, ParaStation
    {"PMI_SIZE", Tells::ranks, true},
    {"PMI_RANK", Tells::rank, true},
    {"PMI_ID", Tells::rank, true},
    {"PMI_FD", Tells::presence, true},
    {"PMI_PORT", Tells::presence, true},
    // Cray: srun --mpi=cray_shasta, mpiexec of PALS, Flux with its plugin for it
    {"PALS_RANKID", Tells::rank, true},
    {"PALS_APID", Tells::presence, true},
    {"PMI_CONTROL_PORT", Tells::presence, true},
    // Flux and Slurm themselves: one of the above is there too where they connect ranks
    {"FLUX_JOB_SIZE", Tells::ranks, false},
    {"FLUX_TASK_RANK", Tells::rank, false},
    {"SLURM_STEP_NUM_TASKS", Tells::ranks, false},
    {"SLURM_PROCID", Tells::rank, false},
};

// Decides where the variables above mislead.
constexpr const char* override_name = "STANLEY_MPI";

/// The first variable of this kind that is a number from 0.
std::optional<int> first_number(const Environment& environment, Tells kind) {
  for (const Variable& variable : known_variables) {
    if (variable.tells != kind) continue;
    const std::string text = value_of(environment, variable.name);
    int number = -1;
    const auto end = text.data() + text.size();
    if (std::from_chars(text.data(), end, number).ptr == end && number >= 0) return number;
  }
  return std::nullopt;
}

void add_evidence(Launcher& launcher, const std::string& name, const std::string& value) {
  if (!launcher.evidence.empty()) launcher.evidence += ", ";
  launcher.evidence += name + "=" + printable(value);
}

}  // namespace

Environment process_environment() {
  Environment environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    environment.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return environment;
}

std::string value_of(const Environment& environment, const std::string& name) {
  const auto entry = environment.find(name);
  return entry == environment.end() ? "" : entry->second;
}

Launcher launcher_seen(const Environment& environment) {
  Launcher launcher;
  for (const Variable& variable : known_variables) {
    const std::string value = value_of(environment, variable.name);
    if (value.empty()) continue;
    launcher.connects = launcher.connects || variable.connects;
    add_evidence(launcher, variable.name, value);
  }
  launcher.ranks = std::max(1, first_number(environment, Tells::ranks).value_or(1));
  if (launcher.connects || launcher.ranks > 1) {
    launcher.rank = first_number(environment, Tells::rank).value_or(0);
  }
  return launcher;
}

Launcher launcher_from(const Environment& environment) {
  Launcher launcher = launcher_seen(environment);
  const std::string wish = value_of(environment, override_name);
  if (wish.empty()) return launcher;
  add_evidence(launcher, override_name, wish);
  if (wish == "yes") {
    launcher.connects = true;
  } else if (wish == "no") {
    launcher = {.evidence = launcher.evidence};
  } else {
    throw Error(ExitCode::environment,
                std::string(override_name) + "=" + printable(wish) +
                    ": it takes yes (start MPI, whatever the launcher left in the environment) or "
                    "no (one rank, without MPI)");
  }
  return launcher;
}

void check_launcher(const Launcher& launcher, int world_size, const std::string& library) {
  // Where it doesn't tell how many there are, a second one shows that there are several.
  if ((launcher.ranks <= 1 && launcher.rank == 0) || world_size > 1) return;
  const std::string several =
      launcher.ranks > 1 ? std::to_string(launcher.ranks) + " ranks" : "several ranks";
  const std::string started = launcher.connects ? "" : "=yes starts MPI all the same, and ";
  throw Error(ExitCode::environment,
              "the launcher started " + several + " (" + launcher.evidence +
                  "), but MPI connected only this one, so each would train alone: start with "
                  "`srun --mpi=pmix` (or pmi2, or cray_shasta: as " +
                  library +
                  " wants it, which stanley was built with) or with the `mpirun` of that MPI; " +
                  override_name + started + "=no lets each run alone");
}

}  // namespace stanley
