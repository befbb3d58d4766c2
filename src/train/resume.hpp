#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "parallel/communicator.hpp"
#include "run/log.hpp"
#include "storage/checkpoint.hpp"

namespace stanley {

/// The configuration that a checkpoint was written under, with overrides ("key.path=value"); keys
/// of another release that this one doesn't know are left out. Errors: input_output where it holds
/// none, or one that only another release can read; configuration where the overrides don't fit.
Config stored_config(const CheckpointHeader& header, const std::vector<std::string>& overrides);

/// The keys that stored_config() leaves out, by their paths.
std::vector<std::string> unknown_keys(const CheckpointHeader& header);

/// Collective. The checkpoint that a start goes on from: with `resume` "auto" the newest of
/// `directory` that verifies (nothing if there are none), with "never" nothing, else the file that
/// `resume` names. Says which it passed over and why. Errors: input_output where "never" meets a
/// directory that holds a run, or none of some checkpoints verifies.
std::optional<CheckpointHeader> find_start(Communicator& communicator, const std::string& resume,
                                           const std::string& directory, const FileOptions& options,
                                           Log& log);

/// Throws Error(configuration), naming each key and both values, if the configuration of a
/// resumed run differs from the checkpoint's where the result would be another run: network, data,
/// chains, sampler, objective, optimiser, seed. A branch may change all but the network.
void check_resume(const CheckpointHeader& header, const Config& config, bool branch);

/// Has `auto` mean what it meant when the run began: precision, and, but for a branch, device.
/// Returns a sentence for each of the two that the configuration changes on purpose.
std::vector<std::string> keep_resolved(const CheckpointHeader& header, bool branch, Config& config);

/// The checkpoint's progress, with what older releases left to the configuration: the chain steps
/// that went before, and the iteration that the schedules were planned to end at, which a resume
/// never moves and a branch plans anew.
Progress progress_of(const CheckpointHeader& header, const Config& config, bool branch);

/// A sentence where a schedule of the run ends elsewhere than run.iterations suggests; else empty.
std::string moved_end_note(const Config& config, const Progress& progress);

/// Whether a branch learns from the same data, by the same rules, as the checkpoint's run.
bool learns_alike(const CheckpointHeader& header, const Config& config);

/// The text of a checkpoint that tells the data by their digest.
inline constexpr const char* data_digest = "data_digest";

/// Throws Error(configuration) if the checkpoint was written with data of another digest; one of
/// earlier versions, or of computed data, has none. Not collective.
void check_data(const CheckpointHeader& header, const std::string& digest, const DataConfig& data);

/// The text of a checkpoint that holds the digest of the energy's file; only where there is one.
inline constexpr const char* energy_digest = "energy_digest";

/// Throws Error(configuration), naming both digests, if the energy's file (none: an empty digest)
/// is not the one that the checkpoint was written under: its code is part of the network.
void check_energy_file(const CheckpointHeader& header, const Config& config,
                       const std::string& digest);

}  // namespace stanley
