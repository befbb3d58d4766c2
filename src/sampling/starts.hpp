#pragma once

#include <functional>

#include "config/config.hpp"
#include "data/dataset.hpp"
#include "parallel/communicator.hpp"
#include "sampler/transition.hpp"
#include "sampling/source.hpp"

namespace stanley {

/// Collective. Gives this rank's chains [n], whose ids are neighbours, the states that they start
/// from: those of the same numbers in a checkpoint's bank, those of `sampling.states` in turn, or
/// new ones of `chains.start`. `sampling.chains_per_start` neighbours have one state. Each rank
/// reads only what its own chains start from. Errors: configuration where there are fewer states,
/// or of another shape; input_output.
void start_chains(ChainBatch& chains, const SamplingSource& source, const Dataset& data,
                  Communicator& communicator);

}  // namespace stanley
