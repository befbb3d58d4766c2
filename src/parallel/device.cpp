#include "parallel/device.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <map>
#include <vector>

#include "parallel/agree.hpp"

namespace stanley {
namespace {

constexpr const char* without_gpu = "set run.device: cpu to compute without a GPU";

/// Two ranks on one GPU anywhere make all ranks use the slower way: a reduction has one way.
bool any_shared(const Session& session, const std::string& uuid) {
  std::vector<std::string> uuids = session.world().all_gather(uuid);
  std::sort(uuids.begin(), uuids.end());
  return std::adjacent_find(uuids.begin(), uuids.end()) != uuids.end();
}

/// Collective. All ranks fail if they would compute on different kinds of device.
void check_same_kind(const Session& session, DeviceKind kind) {
  const std::vector<std::string> kinds = session.world().all_gather(to_string(kind));
  const auto other = std::adjacent_find(kinds.begin(), kinds.end(), std::not_equal_to<>());
  if (other == kinds.end()) return;
  const auto rank = static_cast<std::size_t>(other - kinds.begin());
  const auto describe = [&](std::size_t r) {
    return "rank " + std::to_string(r) + " (" + session.hosts()[r] + ") on " + kinds[r];
  };
  throw Error(ExitCode::environment, "all ranks must compute on one kind of device, but " +
                                         describe(rank) + " and " + describe(rank + 1) +
                                         " would not: use nodes of one kind, or set run.device");
}

}  // namespace

Device choose_device(DeviceKind requested, const Session& session) {
  Device device;
  CudaSight sight;
  agree(session.world(), [&] {
    sight = look_for_cuda(requested);
    device.kind = decide_kind(requested, sight, gpu_allocation(process_environment()));
  });
  check_same_kind(session, device.kind);
  if (device.kind == DeviceKind::cpu) return device;
  const auto shares = share_out(session.gather_on_host(sight.uuids));
  device.index = shares[static_cast<std::size_t>(session.local_rank())];
  agree(session.world(), [&] { use_cuda_device(device); });
  device.shared = any_shared(session, device.uuid);
  return device;
}

Precision common_precision(Precision requested, Precision mine, Communicator& communicator) {
  if (requested != Precision::automatic) return requested;
  const bool everywhere = communicator.min(mine == Precision::bfloat16 ? 1 : 0) > 0;
  return everywhere ? Precision::bfloat16 : Precision::float32;
}

std::vector<int> share_out(const std::vector<std::vector<std::string>>& visible) {
  std::map<std::string, int> users;
  std::vector<int> shares;
  for (const std::vector<std::string>& uuids : visible) {
    const auto taken =
        std::ranges::min_element(uuids, {}, [&](const std::string& uuid) { return users[uuid]; });
    ++users[*taken];
    shares.push_back(static_cast<int>(taken - uuids.begin()));
  }
  return shares;
}

Transport transport_for(const Device& device) {
  if (device.kind != DeviceKind::cuda) return Transport::mpi;
  return device.shared ? Transport::mpi_from_device : Transport::nccl;
}

std::string gpu_allocation(const Environment& environment) {
  const std::initializer_list<std::string> names = {
      "SLURM_STEP_GPUS",    "SLURM_JOB_GPUS",      "CUDA_VISIBLE_DEVICES", "SLURM_GPUS",
      "SLURM_GPUS_ON_NODE", "SLURM_GPUS_PER_NODE", "SLURM_GPUS_PER_TASK",  "SLURM_GPUS_PER_SOCKET"};
  for (const std::string& name : names) {
    const std::string value = value_of(environment, name);
    const bool counts = name.starts_with("SLURM_GPUS");  // 0 is none there, and a GPU in a list
    const bool none = counts ? value == "0" : value == "-1" || value == "NoDevFiles";
    if (!value.empty() && !none) return name + "=" + value;
  }
  return "";
}

DeviceKind decide_kind(DeviceKind requested, const CudaSight& sight,
                       const std::string& allocation) {
  if (requested == DeviceKind::cpu) return DeviceKind::cpu;
  if (!sight.uuids.empty()) return DeviceKind::cuda;
  std::string wanted;
  if (requested == DeviceKind::cuda) {
    wanted = "run.device is cuda, but ";
  } else if (!allocation.empty()) {
    wanted = "this job was given GPUs (" + allocation + "), but ";
  }
  // A broken set-up is not a machine without a GPU: falling back would hide it.
  if (wanted.empty() && !sight.broken) return DeviceKind::cpu;
  throw Error(ExitCode::environment, wanted + sight.problem + "; " + without_gpu);
}

std::string to_string(const Device& device) {
  if (device.kind == DeviceKind::cpu) return "cpu";
  return fmt::format("cuda:{} {} ({}){}", device.index, device.name, device.uuid,
                     device.shared ? ", ranks share GPUs: gradients go through the host" : "");
}

std::string topology_table(const Session& session, const Device& device, int threads) {
  std::size_t width = 4;
  for (const std::string& host : session.hosts()) width = std::max(width, host.size());
  const std::string mine = fmt::format("{:>4}  {:<{}}  {:>10}  {:>7}  {}\n", session.rank(),
                                       session.hosts()[static_cast<std::size_t>(session.rank())],
                                       width, session.local_rank(), threads, to_string(device));
  std::string table = fmt::format("{:>4}  {:<{}}  {:>10}  {:>7}  {}\n", "rank", "host", width,
                                  "local rank", "threads", "device");
  for (const std::string& line : session.world().all_gather(mine)) table += line;
  return table;
}

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name"))
      return line.substr(std::min(line.size(), line.find(": ") + 2));
  }
  return "";
}

}  // namespace stanley
