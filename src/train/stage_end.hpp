#pragma once

#include "config/config.hpp"
#include "parallel/communicator.hpp"
#include "storage/checkpoint.hpp"
#include "train/trainer.hpp"

namespace stanley {

/// Collective. Throws Error(configuration) where the data file's images are not what the stages of
/// a run (if it has some) end with: square images of the last stage's size, with few enough
/// channels for a convnet of energy.channels to grow.
void check_stages_fit(const Config& config, Communicator& communicator);

/// Collective. Reads what the stage `config` (stage_config()) left in its checkpoint at its end.
/// `progress`: the checkpoint's, as progress_of() has it. Errors: input_output.
StageEnd read_stage_end(const CheckpointHeader& header, const Config& config, Progress progress,
                        Sharding sharding, Communicator& communicator, const FileOptions& options);

}  // namespace stanley
