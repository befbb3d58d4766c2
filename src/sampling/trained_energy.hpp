#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "config/config.hpp"
#include "energy/gradient_engine.hpp"
#include "energy/network.hpp"
#include "sampling/setup.hpp"
#include "storage/checkpoint.hpp"

namespace stanley {

/// The energy of a checkpoint, ready to be computed.
struct TrainedEnergy {
  std::unique_ptr<Network> network;  ///< outlives the engine
  std::unique_ptr<GradientEngine> engine;
  std::int64_t most_states = 1;  ///< at a time: what moved at once in the training has room too
};

/// Collective. Reads the running average of the weights, or the last ones. Errors: input_output
/// where the checkpoint holds no chains, or the weights of another network, or is damaged.
TrainedEnergy load_trained_energy(const CheckpointHeader& header, const Config& config,
                                  const ComputeSetup& setup, bool average,
                                  Communicator& communicator);

/// XXH3 of the digests that a checkpoint has of its running average of the weights, or of the last
/// ones, and of `code`, the digest of a network that is a file of the user's.
std::string digest_of_weights(const CheckpointHeader& header, bool average,
                              const std::string& code);

}  // namespace stanley
