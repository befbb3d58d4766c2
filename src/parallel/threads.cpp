#include "parallel/threads.hpp"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "config/files.hpp"

namespace stanley {
namespace {

std::optional<int> positive_number(const Environment& environment, const char* name) {
  const std::string text = value_of(environment, name);
  int number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number > 0 ? std::optional(number) : std::nullopt;
}

/// The physical core of a hardware thread, by the first of the threads that share it.
int core_of(int cpu) {
  std::ifstream siblings("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                         "/topology/thread_siblings_list");
  int first = cpu;
  return siblings >> first ? first : cpu;
}

/// The physical cores that this process may run on, each once.
std::vector<int> allowed_cores() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  std::set<int> cores;
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &mask)) cores.insert(core_of(cpu));
    }
  }
  if (cores.empty()) cores.insert(0);
  return {cores.begin(), cores.end()};
}

}  // namespace

int threads_per_rank(const Session& session, std::optional<int> configured) {
  const std::vector<std::vector<int>> cores = session.gather_on_host(allowed_cores());
  if (configured) return *configured;
  const Environment environment = process_environment();
  if (const auto wanted = positive_number(environment, "OMP_NUM_THREADS")) return *wanted;
  int threads = core_share(cores, static_cast<std::size_t>(session.local_rank()));
  const int ranks = session.local_size();
  if (const auto cap = slurm_cores(environment, ranks)) threads = std::min(threads, *cap);
  const std::string quotas = read_file("/sys/fs/cgroup/cpu.max").value_or("");
  if (const auto quota = quota_cores(quotas)) threads = std::min(threads, *quota / ranks);
  return std::max(1, threads);
}

std::optional<int> slurm_cores(const Environment& environment, int ranks) {
  if (const auto wish = positive_number(environment, "SLURM_CPUS_PER_TASK")) return wish;
  if (const auto node = positive_number(environment, "SLURM_CPUS_ON_NODE")) return *node / ranks;
  return std::nullopt;
}

int core_share(const std::vector<std::vector<int>>& cores, std::size_t mine) {
  std::map<int, int> users;
  for (const std::vector<int>& rank : cores) {
    for (const int core : rank) ++users[core];
  }
  // Whole cores of one's own, and an equal part of those that each number of ranks shares.
  std::map<int, int> cores_with_users;
  for (const int core : cores[mine]) ++cores_with_users[users[core]];
  double share = 0;
  for (const auto& [sharing, count] : cores_with_users) {
    share += static_cast<double>(count) / sharing;
  }
  return std::max(1, static_cast<int>(share + 1e-9));
}

std::optional<int> quota_cores(const std::string& cpu_max) {
  std::istringstream stream(cpu_max);
  double quota = 0;
  double period = 0;
  if (!(stream >> quota >> period) || quota <= 0 || period <= 0) return std::nullopt;
  return std::max(1, static_cast<int>(quota / period));
}

}  // namespace stanley
