#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parallel/session.hpp"

namespace stanley {

/// Collective. How many threads this rank should compute with: run.threads if given; else
/// OMP_NUM_THREADS; else its share of the host's cores: each physical core that this process may
/// run on is shared by the ranks of the host that may run there too, capped by what Slurm's job was
/// given and by the container's CPU quota. At least 1.
int threads_per_rank(const Session& session, std::optional<int> configured = std::nullopt);

/// The most threads that Slurm's job leaves a rank on a host with `ranks` of them, where Slurm may
/// give a part of a node without binding ranks to it: SLURM_CPUS_PER_TASK (sbatch's wish, even
/// where srun doesn't take it over), or its share of SLURM_CPUS_ON_NODE.
std::optional<int> slurm_cores(const Environment& environment, int ranks);

/// The share of rank `mine` in the cores: `cores` holds the core numbers of each rank of one host.
int core_share(const std::vector<std::vector<int>>& cores, std::size_t mine);

/// The cores that a Linux cgroup's "cpu.max" allows ("200000 100000" is 2, at least 1), if it
/// limits them.
std::optional<int> quota_cores(const std::string& cpu_max);

}  // namespace stanley
