#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "commands/command.hpp"

namespace stanley {
namespace {

struct ConfigOptions {
  ConfigArguments config;
  std::string run_directory;
  bool resolved = false;
  std::optional<std::string> key;
  bool directory = false;
  bool schema = false;
};

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ExitCode::configuration,
              "stanley config wants " + why + "; see stanley config --help");
}

ExitCode show(const ConfigOptions& options) {
  if (options.resolved + options.key.has_value() + options.directory + options.schema != 1) {
    refuse("exactly one of --resolved, --get KEY, --directory and --schema");
  }
  if (options.schema) {
    if (!options.config.path.empty() || !options.config.overrides.empty()) {
      refuse("neither a configuration nor --set with --schema, which is the same for all");
    }
    print(configuration_schema());
    return ExitCode::finished;
  }
  if (options.config.path.empty()) {
    refuse("a configuration file (YAML), but for --schema: stanley config CONFIG --resolved");
  }
  const Config config = load_config(options.config.path, options.config.overrides);
  if (options.resolved) print(to_yaml(config));
  if (options.key) print(plain_value(config, *options.key));
  if (options.directory) print(run_directory(config, options.run_directory));
  return ExitCode::finished;
}

}  // namespace

void add_config_command(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand(
      "config", "Say what a configuration means; one process, without MPI and GPU");
  auto options = std::make_shared<ConfigOptions>();
  add_config_arguments(*command, options->config);
  add_run_directory(*command, options->run_directory);
  command->add_flag("--resolved", options->resolved,
                    "Print every key, as the run directory's config.yaml has them");
  command->add_option("--get", options->key, "Print one key's value: --get run.name");
  command->add_flag("--directory", options->directory,
                    "Print the run directory of `stanley train` with the same arguments");
  command->add_flag("--schema", options->schema,
                    "Print the JSON Schema of all configurations, for editors");
  command->callback(
      [options, &chosen] { chosen = [options](Session&, Log&) { return show(*options); }; });
}

}  // namespace stanley
