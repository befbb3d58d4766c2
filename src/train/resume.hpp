#pragma once

#include <map>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "sampling/setup.hpp"
#include "storage/checkpoint.hpp"

namespace stanley {

/// The texts of a checkpoint of a stage, which the functions below read: the stage's configuration
/// and, where there are several, the run's; what `auto` meant, and what the numbers depend on.
std::map<std::string, std::string> checkpoint_texts(const Config& config, std::size_t stage,
                                                    const ComputeSetup& setup,
                                                    const std::string& digest_of_data);

/// Throws Error(configuration), naming each key and both values, if the configuration of a
/// resumed run differs from the checkpoint's where the result would be another run: network, data,
/// chains, sampler, objective, optimiser, seed, stages. A branch may change all but the network of
/// the stage that the checkpoint is of.
void check_resume(const CheckpointHeader& header, const Config& config, bool branch);

/// The checkpoint's progress, with what older releases left to the configuration: the chain steps
/// that went before, and the iteration that the schedules were planned to end at, which a resume
/// never moves and a branch plans anew.
Progress progress_of(const CheckpointHeader& header, const Config& config, bool branch);

/// A sentence where a schedule of the run ends elsewhere than run.iterations suggests; else empty.
std::string moved_end_note(const Config& config, const Progress& progress);

/// Whether a branch learns from the same data, by the same rules, as the checkpoint's run did in
/// its stage. `config`: of the branch's stage.
bool learns_alike(const CheckpointHeader& header, const Config& config);

/// The text of a checkpoint that tells the data by their digest.
inline constexpr const char* data_digest = "data_digest";

/// Throws Error(configuration) if the checkpoint was written with data of another digest; one of
/// earlier versions, or of computed data, has none. Not collective.
void check_data(const CheckpointHeader& header, const std::string& digest, const DataConfig& data);

}  // namespace stanley
