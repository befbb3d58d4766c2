#pragma once

#include <string>
#include <vector>

#include "config/config.hpp"
#include "parallel/reducer.hpp"
#include "parallel/session.hpp"

namespace stanley {

/// What this rank computes on.
struct Device {
  DeviceKind kind{DeviceKind::cpu};  ///< cpu or cuda
  int index{0};                      ///< CUDA's number of the GPU in this process
  std::string name;                  ///< the GPU's model; empty for a CPU
  std::string uuid;    ///< the GPU's own identity, whatever its number; empty for a CPU
  bool shared{false};  ///< somewhere in this run two ranks share one GPU
};

/// Collective. Decides the device of each rank and makes it this thread's current one. `cuda` needs
/// a CUDA build, a driver that is new enough and a visible GPU; `automatic` takes the GPU if one is
/// visible and the CPU if not, but never the CPU inside a GPU allocation. Ranks of a host share out
/// the GPUs that they see (share_out). All ranks use one kind, or all throw
/// Error(ExitCode::environment).
Device choose_device(DeviceKind requested, const Session& session);

/// Which of the GPUs that it sees each rank of one host takes, as an index into its list of UUIDs:
/// one that the fewest ranks before it took. Right where all see the same GPUs, each its own, or
/// groups of ranks those of their socket, in any order; and two ranks share a GPU only where there
/// are fewer GPUs than ranks, if ranks see the same GPUs or none in common.
std::vector<int> share_out(const std::vector<std::vector<std::string>>& visible);

/// The way gradients travel for this device (the same on all ranks).
Transport transport_for(const Device& device);

/// The variable that says that this job was given GPUs ("SLURM_JOB_GPUS=0,1"); empty if none does.
std::string gpu_allocation(const Environment& environment);

/// What a rank can see of CUDA.
struct CudaSight {
  std::vector<std::string> uuids;  ///< of the GPUs that can be used, by CUDA's number
  bool broken{false};              ///< a GPU's driver is there, but doesn't work with this binary
  std::string problem;             ///< why no GPU can be used, if none can
};

/// Looks for a driver and GPUs, unless the CPU is requested. Never throws: what is missing is said
/// in `problem`.
CudaSight look_for_cuda(DeviceKind requested);

/// Makes device.index this thread's current CUDA device and fills in its name and UUID.
void use_cuda_device(Device& device);

/// Collective. The precision of all ranks: what is asked for, and for `automatic` bfloat16 only
/// where it is `mine` (never automatic: what this rank would take) on every rank.
Precision common_precision(Precision requested, Precision mine, Communicator& communicator);

/// The kind for one rank. Throws Error(ExitCode::environment) where choose_device() must.
DeviceKind decide_kind(DeviceKind requested, const CudaSight& sight, const std::string& allocation);

/// "cpu", or "cuda:1 NVIDIA H100 (GPU-...)"; says so if ranks share GPUs.
std::string to_string(const Device& device);

/// Collective. One line for each rank, with a heading: rank, host, rank on the host, device,
/// threads. The same text on all ranks, for the log.
std::string topology_table(const Session& session, const Device& device, int threads);

/// This host's processor as Linux names it: "AMD EPYC 7763 64-Core Processor"; empty where it
/// doesn't.
std::string processor_name();

}  // namespace stanley
