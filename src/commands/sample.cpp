#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>

#include "commands/command.hpp"
#include "config/error.hpp"
#include "config/files.hpp"
#include "sampling/sampling.hpp"
#include "sampling/sampling_run.hpp"

namespace stanley {
namespace {

struct SampleOptions {
  SamplingRunRequest run{};
  std::optional<std::string> output{};
};

/// One file, or a run with a directory of its own.
ExitCode sample(const SampleOptions& options, Session& session, Log& log) {
  if (options.output.has_value() == !options.run.directory.empty()) {
    throw Error(
        ExitCode::configuration,
        "give one of --run-directory, for a run that streams its draws to files and goes on "
        "where it was stopped, and --output, for one file; see stanley sample --help");
  }
  if (!options.run.directory.empty()) {
    SamplingRunRequest request = options.run;
    request.directory = expand_path(request.directory, "--run-directory");
    return run_sampling_run(request, session, log);
  }
  const SamplingRequest request{.checkpoint = options.run.source,
                                .overrides = options.run.overrides,
                                .average = options.run.average,
                                .output = *options.output};
  return run_sampling(request, session, log);
}

}  // namespace

void add_sample_command(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("sample", "Run chains of an energy and write their draws");
  auto options = std::make_shared<SampleOptions>();
  SamplingRunRequest& run = options->run;
  command
      ->add_option("checkpoint", run.source,
                   "Checkpoint file, or the configuration (.yaml) of an energy from a file")
      ->required();
  command
      ->add_option("--set", run.overrides,
                   "Override a key of its configuration: sampling.draws, sampling.thin, "
                   "chains.total, chains.start (default: bank), ...")
      ->allow_extra_args(false);
  command->add_option("--run-directory", run.directory,
                      "Where the run lives; the same command again resumes it");
  command->add_option("--output", options->output,
                      "Instead of a run: one draw file to write (netCDF-4)");
  command
      ->add_option("--resume", run.resume,
                   "auto: from the newest checkpoint that verifies; never: refuse if there is one")
      ->check(CLI::IsMember({"auto", "never"}))
      ->capture_default_str();
  command->add_flag("--take-over", run.take_over,
                    "Take the run directory from a run that is surely dead but seems to live");
  command->add_flag("--last-weights{false}", run.average,
                    "Use the last weights, not their running average");
  command->callback([options, &chosen] {
    chosen = [options](Session& session, Log& log) { return sample(*options, session, log); };
  });
}

}  // namespace stanley
