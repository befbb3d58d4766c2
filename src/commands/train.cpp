#include <CLI/CLI.hpp>
#include <memory>

#include "commands/command.hpp"
#include "measure/dry_run.hpp"
#include "run/stop.hpp"
#include "sampling/setup.hpp"
#include "train/training.hpp"

namespace stanley {
namespace {

struct TrainOptions {
  ConfigArguments config;
  TrainingRequest request{};  ///< its directory as typed, its configuration not read yet
  bool dry_run = false;
};

ExitCode train(const TrainOptions& options, Session& session, Log& log) {
  if (options.dry_run) release_signals();
  TrainingRequest request = options.request;
  request.config = load_config_on_all(options.config, session.world());
  check_for_training(request.config);
  common_instruction_set(request.config.run.reproducible, session.world());  // before any file
  request.directory = run_directory(request.config, request.directory);
  return options.dry_run ? dry_run(request, session, log) : run_training(request, session, log);
}

}  // namespace

void add_train_command(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand(
      "train", "Train an energy-based model; the same command again resumes the run");
  auto options = std::make_shared<TrainOptions>();
  add_config_arguments(*command, options->config)->required();
  add_run_directory(*command, options->request.directory);
  command
      ->add_option("--resume", options->request.resume,
                   "auto: from the newest checkpoint that verifies; never: refuse if there is "
                   "one; or a checkpoint to branch from")
      ->capture_default_str();
  command->add_flag("--dry-run", options->dry_run,
                    "Check everything, say what the run will need, and exit");
  command->add_flag("--take-over", options->request.take_over,
                    "Take the run directory from a run that is surely dead but seems to live; if "
                    "it lives, it stops before it writes its next file");
  command->callback([options, &chosen] {
    chosen = [options](Session& session, Log& log) { return train(*options, session, log); };
  });
}

}  // namespace stanley
