#include "parallel/device.hpp"

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <vector>

#include "parallel/agree.hpp"
#include "parallel/cuda_sight.hpp"

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
  agree(session.world(), [&] {
    const CudaSight sight = look_for_cuda(requested);
    device.kind = decide_kind(requested, sight, gpu_allocation(process_environment()));
    if (device.kind == DeviceKind::cuda) device.index = session.local_rank() % sight.devices;
  });
  check_same_kind(session, device.kind);
  if (device.kind == DeviceKind::cpu) return device;
  agree(session.world(), [&] { use_cuda_device(device); });
  device.shared = any_shared(session, device.uuid);
  return device;
}

Transport transport_for(const Device& device) {
  if (device.kind != DeviceKind::cuda) return Transport::mpi;
  return device.shared ? Transport::mpi_from_device : Transport::nccl;
}

std::string gpu_allocation(const Environment& environment) {
  const auto first_set = [&](std::initializer_list<const char*> names,
                             std::initializer_list<const char*> nothing) -> std::string {
    for (const char* name : names) {
      const auto entry = environment.find(name);
      if (entry == environment.end() || entry->second.empty()) continue;
      if (std::find(nothing.begin(), nothing.end(), entry->second) != nothing.end()) continue;
      return std::string(name) + "=" + entry->second;
    }
    return "";
  };
  // Lists of GPUs, in which 0 is a GPU; then counts, in which 0 is none.
  std::string list = first_set({"SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "CUDA_VISIBLE_DEVICES"},
                               {"-1", "NoDevFiles"});
  if (!list.empty()) return list;
  return first_set({"SLURM_GPUS", "SLURM_GPUS_ON_NODE", "SLURM_GPUS_PER_NODE",
                    "SLURM_GPUS_PER_TASK", "SLURM_GPUS_PER_SOCKET"},
                   {"0"});
}

DeviceKind decide_kind(DeviceKind requested, const CudaSight& sight,
                       const std::string& allocation) {
  if (requested == DeviceKind::cpu) return DeviceKind::cpu;
  if (sight.devices > 0) return DeviceKind::cuda;
  if (requested == DeviceKind::cuda) {
    throw Error(ExitCode::environment,
                "run.device is cuda, but " + sight.problem + "; " + without_gpu);
  }
  if (!allocation.empty()) {
    throw Error(ExitCode::environment, "this job was given GPUs (" + allocation + "), but " +
                                           sight.problem + "; " + without_gpu);
  }
  // A broken set-up is not a machine without a GPU: falling back would hide it.
  if (sight.broken) {
    throw Error(ExitCode::environment, sight.problem + "; " + without_gpu);
  }
  return DeviceKind::cpu;
}

}  // namespace stanley
