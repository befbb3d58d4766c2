#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "config/error.hpp"
#include "parallel/session.hpp"
#include "run/log.hpp"

namespace CLI {
class App;
}

namespace stanley {

/// What main() gives to the command that was typed.
using Command = std::function<ExitCode(Session& session, Log& log)>;

// Each adds one command to the program; the one that the command line names sets `chosen`.
void add_train_command(CLI::App& app, Command& chosen);
void add_sample_command(CLI::App& app, Command& chosen);
void add_inspect_command(CLI::App& app, Command& chosen);
void add_benchmark_command(CLI::App& app, Command& chosen);

/// Collective. Rank 0 reads and checks a configuration file, all ranks get the result.
/// Errors: configuration, on all ranks.
Config load_config_on_all(const std::string& path, const std::vector<std::string>& overrides,
                          Communicator& communicator);

}  // namespace stanley
