#include <CLI/CLI.hpp>
#include <memory>

#include "commands/command.hpp"
#include "sampling/sampling.hpp"

namespace stanley {

void add_sample_command(CLI::App& app, Command& chosen) {
  CLI::App* command =
      app.add_subcommand("sample", "Run chains of a trained energy and write their draws");
  auto request = std::make_shared<SamplingRequest>();
  command->add_option("checkpoint", request->checkpoint, "Checkpoint file")->required();
  command
      ->add_option("--set", request->overrides,
                   "Override a key of the checkpoint's configuration: sampler.steps, "
                   "sampler.write_every, chains.total, chains.start (default: bank), ...")
      ->allow_extra_args(false);
  command->add_option("--output", request->output, "Draw file to write (netCDF-4)")->required();
  command->add_flag("--last-weights{false}", request->average,
                    "Use the last weights, not their running average");
  command->callback([request, &chosen] {
    chosen = [request](Session& session, Log& log) { return run_sampling(*request, session, log); };
  });
}

}  // namespace stanley
