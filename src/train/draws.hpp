#pragma once

#include <string>

#include "config/config.hpp"
#include "data/dataset.hpp"
#include "storage/draws.hpp"
#include "train/trainer.hpp"

namespace stanley {

/// Collective. Writes DIRECTORY/draws-<iteration>.nc: the present states of the first
/// `samples.chains` chains, their energies, ages and restarts, and some data samples beside them.
CommitReport write_bank_draws(Trainer& trainer, const Dataset& dataset, const Config& config,
                              const std::string& directory, Communicator& communicator,
                              const FileOptions& options);

/// What every draw file says about where it comes from.
std::map<std::string, std::variant<std::string, std::int64_t, double>> draw_attributes(
    const Config& config);

/// −E/T, the log density up to a constant; −E where T = 0.
std::vector<double> log_density(const std::vector<double>& energies, const Config& config);

}  // namespace stanley
