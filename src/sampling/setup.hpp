#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <string_view>

#include "config/config.hpp"
#include "energy/network.hpp"
#include "parallel/device.hpp"
#include "parallel/reducer.hpp"
#include "parallel/session.hpp"

namespace stanley {

/// The file of `energy.type: torchscript`, the same on all ranks; empty for other types.
struct EnergyFile {
  std::string bytes;
  std::string digest;  ///< XXH3 of the bytes in hexadecimal digits
};

/// What a rank computes with, decided from the configuration.
struct ComputeSetup {
  Device device;
  at::Device torch_device;
  Precision precision;
  int threads;
  std::string instruction_set;  ///< of all ranks: "v4", "v3 to v4"
  EnergyFile energy_file;
};

/// Throws Error(configuration) where there are more ranks than shards.
void require_shards(const Config& config, const Session& session);

/// Collective. The instruction set of all ranks, "v4", or the lowest and the highest, "v3 to v4".
/// Errors: environment, for a STANLEY_ISA that a processor lacks, and for ranks that differ in a
/// run that is to be reproducible.
std::string common_instruction_set(bool reproducible, Communicator& communicator);

/// Gives our own loops so many threads, whose numbers do not depend on them; and LibTorch as many,
/// or one where a run is to be reproducible: the order of its additions depends on its threads.
void use_threads(int threads, bool reproducible);

/// Collective. Chooses the device, the chains' precision and the threads, and tells LibTorch and
/// our own loops; rank 0 reads the energy's file, if there is one, for all. Errors: environment;
/// input_output for that file; as require_shards().
ComputeSetup set_up(const Config& config, Session& session);

/// Collective. Sums gradients over the session's ranks, in shard order if `run.reproducible`.
std::unique_ptr<Reducer> reducer_for(const Config& config, const ComputeSetup& setup,
                                     Session& session);

/// Collective. make_network(), which fails on all ranks together.
std::unique_ptr<Network> make_network_on_all(const Config& config, const StateShape& shape,
                                             std::string_view energy_file,
                                             Communicator& communicator);

}  // namespace stanley
