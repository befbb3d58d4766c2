#pragma once

#include <string>
#include <vector>

#include "config/config.hpp"
#include "storage/checkpoint.hpp"

namespace stanley {

/// The configuration that a checkpoint was written under, with overrides ("key.path=value"); keys
/// of another release that this one doesn't know are left out. Errors: input_output where it holds
/// none, or one that only another release can read; configuration where the overrides don't fit.
StoredConfig stored_config(const CheckpointHeader& header,
                           const std::vector<std::string>& overrides = {});

/// The text of a checkpoint that holds the configuration of the whole run, where that has stages:
/// "config" is then that of the checkpoint's stage, which any reader takes as that of a run.
inline constexpr const char* config_of_run = "config_of_run";
/// The configuration of the whole run. Errors: as stored_config().
Config stored_config_of_run(const CheckpointHeader& header);

/// "sampler.steps is 20 there and 10 here", for each key that differs although it may not in a run
/// that goes on (in a branch of it, which may change all but the network).
std::vector<std::string> differences(const Config& there, const Config& here, bool branch);

/// Has `auto` mean what it meant when the run began: precision, and, but for a branch, device.
/// Returns a sentence for each of the two that the configuration changes on purpose.
std::vector<std::string> keep_resolved(const CheckpointHeader& header, bool branch, Config& config);

/// The text of a checkpoint that holds the digest of the energy's file; only where there is one.
inline constexpr const char* energy_digest = "energy_digest";

/// Throws Error(configuration), naming both digests, if the energy's file (none: an empty digest)
/// is not the one that the checkpoint was written under: its code is part of the network.
void check_energy_file(const CheckpointHeader& header, const Config& config,
                       const std::string& digest);

}  // namespace stanley
