#include "evaluation/evaluate.hpp"

#include <CLI/CLI.hpp>
#include <memory>

#include "commands/command.hpp"
#include "config/error.hpp"
#include "parallel/agree.hpp"
#include "run/stop.hpp"

namespace stanley {
namespace {

/// What takes the trained energy.
void add_trained_parts(CLI::App& command, EvaluationRequest& request) {
  command
      .add_option("--weights", request.weights,
                  "Of the energy: average or last (default: as `stanley sample`)")
      ->check(CLI::IsMember({"average", "last"}));
  command
      .add_option("--ood", request.further,
                  "Data file whose energies are told beside those of the test set; repeatable")
      ->allow_extra_args(false);
  command
      .add_option("--fresh", request.fresh,
                  "Judge chains that start afresh, after so many steps; repeatable")
      ->allow_extra_args(false)
      ->check(CLI::Range(0, 1000000000));
  command
      .add_option(
          "--long-run", request.long_run,
          "Let chains run on for so many steps (default: 10000) from bank, data and noise,\n"
          "and say whether they stay: 'stable', or 'short-run generator'")
      ->expected(0, 1)
      ->default_str("10000")
      ->check(CLI::Range(1, 1000000000));
  command
      .add_option("--denoise", request.denoise,
                  "Also judge the states after so many noise-free steps (default: as the run's\n"
                  "samples.denoise; 0: not)")
      ->check(CLI::Range(0, 1000000));
  command
      .add_option("--chains", request.chains,
                  "Chains of --fresh (default: 1024), and from each start of --long-run\n"
                  "(default: 256)")
      ->check(CLI::Range(1, 1000000));
}

}  // namespace

void add_evaluate_command(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand(
      "evaluate",
      "Say how near the chains' states are to held-out data: KID, FID, precision, recall");
  auto request = std::make_shared<EvaluationRequest>();
  command
      ->add_option("path", request->path,
                   "Run directory (its newest checkpoint), checkpoint or draw file")
      ->required();
  command->add_option("--data", request->data,
                      "Data file to compare with (default: the run's own)");
  command->add_option("--split", request->split, "Its split (default: test)");
  command->add_option("--features", request->features,
                      "Feature network (TorchScript, with a .json beside it), or 'states'\n"
                      "(default: .data/features/efficientnet-lite0.pt)");
  command->add_option("--protocol", request->protocol, "Its name in the results")
      ->capture_default_str();
  command->add_option("--draws", request->draws, "Compare at most so many states")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command
      ->add_option("--minimum-age", request->minimum_age,
                   "Leave out younger states (default: the run's chains.burn_in, in steps)")
      ->check(CLI::Range(0, 1000000000));
  command->add_option("--reference", request->reference, "With at most so many images")
      ->check(CLI::Range(6, 1000000))
      ->capture_default_str();
  command->add_option("--classifier", request->classifier,
                      "Also tell the classes of the states by this one\n"
                      "(tools/train_classifier.py makes it)");
  command
      ->add_option("--neighbours", request->neighbours,
                   "Also search the nearest one of so many training images")
      ->check(CLI::Range(1, 100000000));
  command->add_option("--output", request->output,
                      "List of results to add to (default: evaluation.json of the run, or beside\n"
                      "the file)");
  add_trained_parts(*command, *request);
  command->callback([request, &chosen] {
    chosen = [request](Session& session, Log& log) {
      release_signals();
      if (request->chains && request->fresh.empty() && !request->long_run) {
        throw Error(ExitCode::configuration,
                    "--chains counts the chains of --fresh and --long-run, and neither is asked "
                    "for: add one, or limit the states with --draws");
      }
      const Evaluation evaluation = run_evaluation(*request, session, log);
      on_first_rank(session.world(), [&] { print(as_text(evaluation)); });
      return ExitCode::finished;
    };
  });
}

}  // namespace stanley
