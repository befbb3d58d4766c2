#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "data/dataset.hpp"
#include "parallel/session.hpp"
#include "sampling/setup.hpp"
#include "sampling/trained_energy.hpp"
#include "storage/checkpoint.hpp"
#include "storage/draws.hpp"

namespace stanley {

/// What is sampled: the energy of a checkpoint, or that of a configuration, which a file of the
/// user's gives.
struct SamplingSource {
  std::string name;                        ///< the file that was named
  std::optional<CheckpointHeader> header;  ///< of the checkpoint
  Config config;
  bool average = true;  ///< the running average of a checkpoint's weights, or the last ones
};

/// Collective. Of a file that ends in .yaml or .yml, the configuration; else a checkpoint,
/// verified, with the configuration of its training. Then the overrides ("key.path=value"); chains
/// of a checkpoint start from its bank unless an override says otherwise. Errors: input_output;
/// configuration, also for a network that was never trained.
SamplingSource find_source(const std::string& name, const std::vector<std::string>& overrides,
                           bool average, Communicator& communicator);

/// Collective. The source's energy, ready to be computed. `data` are loaded where states are made
/// of them, or nothing else tells their shape. Errors: as load_trained_energy() and
/// Dataset::load().
TrainedEnergy load_energy(const SamplingSource& source, const ComputeSetup& setup, Dataset& data,
                          Communicator& communicator);

/// XXH3, in hexadecimal digits, of all that makes the energy: no other weights or files have it.
std::string digest_of(const SamplingSource& source, const ComputeSetup& setup);

/// "average", "last", or "none" of an energy that a file gives.
std::string weights_of(const SamplingSource& source);

/// What a draw file says of the energy, which has this digest.
decltype(DrawSet::attributes) attributes_of(const SamplingSource& source,
                                            const std::string& digest);

}  // namespace stanley
