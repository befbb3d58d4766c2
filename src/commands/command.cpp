#include "commands/command.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <iostream>

#include "config/files.hpp"
#include "parallel/agree.hpp"

namespace stanley {

void print(std::string text) {
  if (!text.ends_with('\n')) text += '\n';
  if (std::cout << text << std::flush) return;
  throw FileError(
      fmt::format("the report can't be written to standard output ({}): direct it to another place",
                  std::strerror(errno)));
}

CLI::Option* add_config_arguments(CLI::App& command, ConfigArguments& arguments) {
  command.add_option("--set", arguments.overrides, "Override a key: key.path=value")
      ->allow_extra_args(false);
  return command.add_option("config", arguments.path, "Configuration file (YAML)");
}

Config load_config_on_all(const ConfigArguments& arguments, Communicator& communicator) {
  std::string text;
  on_first_rank(communicator,
                [&] { text = to_yaml(load_config(arguments.path, arguments.overrides)); });
  return parse_config(communicator.broadcast(text, 0), arguments.path, {});
}

void add_run_directory(CLI::App& command, std::string& argument) {
  command.add_option("--run-directory", argument,
                     "Where the run lives (default: run.directory/run.name)");
}

std::string run_directory(const Config& config, const std::string& argument) {
  return argument.empty() ? config.run.directory + "/" + config.run.name
                          : expand_path(argument, "--run-directory");
}

}  // namespace stanley
