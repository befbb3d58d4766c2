#include <CLI/CLI.hpp>
#include <cctype>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>

#include "commands/command.hpp"
#include "config/error.hpp"
#include "engines/gpu_arithmetic.hpp"
#include "parallel/launcher.hpp"
#include "parallel/session.hpp"
#include "run/log.hpp"
#include "run/stop.hpp"
#include "run/version.hpp"

namespace {

using stanley::Command;
using stanley::Error;
using stanley::ExitCode;
using stanley::Log;
using stanley::Session;

/// In one piece: what ranks say at once stays apart.
void say(const std::string& message) { std::cerr << "stanley: " + message + '\n' << std::flush; }

std::string upper_case(std::string text) {
  for (char& letter : text) letter = static_cast<char>(std::toupper(letter));
  return text;
}

/// "a configuration file"; without an article where an option takes many.
std::string noun(const CLI::Option& option) {
  std::string text = option.get_description();
  text[0] = static_cast<char>(std::tolower(text[0]));
  return (option.get_items_expected_max() > 1 ? "" : "a ") + text;
}

/// What a command line lacks, and how it should look; as the parser has it where no command is.
std::string what_is_missing(const CLI::App& app, const CLI::RequiredError& error) {
  if (app.get_subcommands().empty()) return error.what();
  const CLI::App& command = *app.get_subcommands().front();
  std::string missing;
  std::string usage = "stanley " + command.get_name();
  for (const CLI::Option* option : command.get_options()) {
    if (!option->get_required()) continue;
    const bool positional = option->get_positional();
    const std::string name = option->get_name(positional);
    usage += ' ' + (positional ? upper_case(name) : name + " FILE");
    if (option->count() > 0) continue;
    missing += (missing.empty() ? "" : " and ") + noun(*option);
  }
  return "stanley " + command.get_name() + " wants " + missing + ": " + usage;
}

/// Which option a command line gives too often; empty if that isn't what is wrong.
std::string what_is_repeated(const CLI::App& app) {
  if (app.get_subcommands().empty()) return "";
  for (const CLI::Option* option : app.get_subcommands().front()->get_options()) {
    const int most = option->get_items_expected_max();
    if (most == 0 || static_cast<int>(option->count()) <= most) continue;  // 0: a flag
    return option->get_name() + " is given " + std::to_string(option->count()) +
           " times: give it once";
  }
  return "";
}

/// `--run-directory "$UNSET"` is a mistake in a script: nobody wants the default by it.
void refuse_empty_values(CLI::App& app) {
  for (CLI::App* command : app.get_subcommands({})) {
    for (CLI::Option* option : command->get_options()) {
      if (option->get_items_expected_max() == 0) continue;
      option->check([](const std::string& value) {
        return value.empty() ? "expected a value, found an empty text" : std::string();
      });
    }
  }
}

/// Reads the command line; the result is empty if there is nothing to run (help, version).
Command parse(int argc, char** argv, bool leader) {
  CLI::App app{
      "stanley trains energy-based models with persistent, anisotropic Langevin chains (STANLEY).\n"
      "Exit codes: 0 finished, 2 usage or configuration, 3 environment, 4 diverged, 5 input or\n"
      "output, 6 communication, 85 checkpointed: start again to go on, 70 a bug of ours.",
      "stanley"};
  app.set_version_flag("--version", std::string("stanley ") + stanley::build_version + " (" +
                                        stanley::build_commit + ")");
  app.require_subcommand(1);
  Command command;
  stanley::add_train_command(app, command);
  stanley::add_sample_command(app, command);
  stanley::add_evaluate_command(app, command);
  stanley::add_inspect_command(app, command);
  stanley::add_status_command(app, command);
  stanley::add_benchmark_command(app, command);
  stanley::add_config_command(app, command);
  refuse_empty_values(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    std::ostringstream text;
    app.exit(help, text, text);
    if (leader) stanley::print(text.str());
    return {};
  } catch (const CLI::ParseError& error) {
    const std::vector<std::string> unknown = app.remaining();
    const bool no_command = app.get_subcommands().empty() && !unknown.empty();
    std::string what = error.what();
    if (no_command) what = "there is no command '" + unknown.front() + "'";
    const auto* required = dynamic_cast<const CLI::RequiredError*>(&error);
    if (required != nullptr && !no_command) what = what_is_missing(app, *required);
    const std::string repeated = what_is_repeated(app);
    if (!repeated.empty()) what = repeated;
    throw Error(ExitCode::configuration, what + "; see stanley --help, or stanley COMMAND --help");
  }
  return command;
}

/// The one place that turns an exception into a message and an exit code.
template <typename Body>
ExitCode guarded(const Body& body, std::optional<Error>& error) {
  try {
    return body();
  } catch (const std::exception& exception) {
    error = stanley::as_error(exception);
    return error->code;
  }
}

ExitCode run_session(int argc, char** argv) {
  Session session(argc, argv);
  std::optional<Error> error;
  const ExitCode code = guarded(
      [&] {
        Log log(session.rank() == 0);
        const Command command = parse(argc, argv, session.rank() == 0);
        return command ? command(session, log) : ExitCode::finished;
      },
      error);
  if (error) {
    session.let_lower_ranks_speak(*error);
    say(session.describe(*error));
    session.abort(code);
  }
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  stanley::choose_cublas_workspace();
  const stanley::Launcher launcher = stanley::launcher_seen(stanley::process_environment());
  // A configuration, and where a run stands, is the same to all ranks: the first tells it, and
  // nobody needs MPI.
  const std::string_view name = argc > 1 ? argv[1] : "";
  if (name == "config" || name == "status") {
    if (launcher.rank != 0) return 0;
    setenv("STANLEY_MPI", "no", 1);
  } else {
    stanley::catch_signals();
  }
  std::optional<Error> error;
  const ExitCode code = guarded([&] { return run_session(argc, argv); }, error);
  // One of all that were started; where the launcher doesn't tell how many, each.
  if (error && (launcher.rank == 0 || launcher.ranks <= 1)) say(error->what());
  return static_cast<int>(code);
}
