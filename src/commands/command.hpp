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
class Option;
}  // namespace CLI

namespace stanley {

/// What main() gives to the command that was typed.
using Command = std::function<ExitCode(Session& session, Log& log)>;

// Each adds one command to the program; the one that the command line names sets `chosen`.
void add_train_command(CLI::App& app, Command& chosen);
void add_sample_command(CLI::App& app, Command& chosen);
void add_evaluate_command(CLI::App& app, Command& chosen);
void add_inspect_command(CLI::App& app, Command& chosen);
void add_status_command(CLI::App& app, Command& chosen);
void add_benchmark_command(CLI::App& app, Command& chosen);
void add_config_command(CLI::App& app, Command& chosen);

/// Writes what a command has to say, with a line's end, to standard output. Errors: input_output
/// where not all of it arrives.
void print(std::string text);

/// The arguments CONFIG and --set of a command.
struct ConfigArguments {
  std::string path;
  std::vector<std::string> overrides;
};
CLI::Option* add_config_arguments(CLI::App& command, ConfigArguments& arguments);

/// Collective. Rank 0 reads and checks a configuration, all ranks get the result. Errors:
/// configuration, on all ranks.
Config load_config_on_all(const ConfigArguments& arguments, Communicator& communicator);

/// The argument --run-directory, and the directory that a training with it has.
void add_run_directory(CLI::App& command, std::string& argument);
std::string run_directory(const Config& config, const std::string& argument);

}  // namespace stanley
