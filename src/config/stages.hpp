#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "config/config.hpp"

namespace stanley {

// Coarse to fine (`stages`). A stage is an ordinary configuration: images of data.size, a convnet
// of fewer levels, which reads them with the layers that the whole one ends with, and the stage's
// own steps, chains, batch and learning rate. A run without stages is its own only one.

/// How many there are; 1 for a run without.
std::size_t stage_count(const Config& config);

/// The configuration of one stage, from 0, without `stages`; of a run without, `config` itself.
Config stage_config(const Config& config, std::size_t stage);
/// That of the last one: images of the data's own size.
Config last_stage(const Config& config);

/// The stage of a state after `iteration` finished ones: where one has just ended, that one, since
/// the next one has not begun yet.
std::size_t stage_at(const Config& config, std::int64_t iteration);
/// Whether one has ended there, and another one follows.
bool stage_ends(const Config& config, std::int64_t iteration);
/// Iterations of one stage: of the last one, what is left of run.iterations.
std::int64_t iterations_of(const Config& config, std::size_t stage);

/// "stage 2 of 3: images of 16×16"; empty for a run without stages.
std::string stage_text(const Config& config, std::size_t stage);

}  // namespace stanley
