#include "parallel/launcher.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <string_view>

#include "config/error.hpp"

namespace stanley {
namespace {

/// The first of `names` that is there and not negative, as a number; `otherwise` if there is none.
int first_number(const Environment& environment, std::initializer_list<const char*> names,
                 int otherwise) {
  for (const char* name : names) {
    const auto entry = environment.find(name);
    if (entry == environment.end()) continue;
    const std::string& text = entry->second;
    int number = -1;
    std::from_chars(text.data(), text.data() + text.size(), number);
    if (number >= 0) return number;
  }
  return otherwise;
}

bool starts_with_any(std::string_view name, std::initializer_list<std::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](std::string_view prefix) { return name.starts_with(prefix); });
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

Launcher launcher_from(const Environment& environment) {
  Launcher launcher;
  for (const auto& [name, value] : environment) {
    if (starts_with_any(name, {"PMIX_RANK", "PMIX_NAMESPACE", "PMI_RANK", "PMI_SIZE", "PMI_FD",
                               "OMPI_COMM_WORLD_SIZE"})) {
      launcher.connects = true;
    }
  }
  // mpirun starts its helpers on other nodes through srun, and the ranks inherit Slurm's variables:
  // what Open MPI says comes first.
  launcher.ranks = std::max(
      1,
      first_number(environment, {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}, 1));
  if (launcher.connects || launcher.ranks > 1) {
    launcher.rank = first_number(
        environment, {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}, 0);
  }
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_NAMESPACE", "PMIX_RANK", "PMI_SIZE",
                           "PMI_RANK", "SLURM_STEP_NUM_TASKS"}) {
    const auto entry = environment.find(name);
    if (entry == environment.end()) continue;
    if (!launcher.evidence.empty()) launcher.evidence += ", ";
    launcher.evidence.append(name).append("=").append(entry->second);
  }
  return launcher;
}

void check_launcher(const Launcher& launcher, int world_size) {
  if (launcher.ranks <= 1 || world_size > 1) return;
  throw Error(ExitCode::environment,
              "the launcher started " + std::to_string(launcher.ranks) + " ranks (" +
                  launcher.evidence +
                  "), but MPI connected only this one, so each would train alone: start with "
                  "`srun --mpi=pmix`, or with the `mpirun` of the MPI that stanley was built with");
}

}  // namespace stanley
