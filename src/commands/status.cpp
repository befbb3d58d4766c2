#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "commands/command.hpp"
#include "commands/status_report.hpp"
#include "config/error.hpp"

namespace stanley {
namespace {

struct StatusOptions {
  std::vector<std::string> paths;
  bool json = false;
};

/// The one sentence about what is no run.
void refuse_others(const std::vector<RunStatus>& runs) {
  std::vector<std::string> others;
  for (const RunStatus& run : runs) {
    if (!run.is_run) others.push_back(printable(run.path));
  }
  if (others.empty()) return;
  if (runs.size() == 1) {
    throw FileError(fmt::format("{} is no run: {}", others.front(), runs.front().remarks.front()));
  }
  throw FileError(fmt::format("{} of {} paths are no runs, for the reasons in the report: {}",
                              others.size(), runs.size(), fmt::join(others, ", ")));
}

ExitCode status(const StatusOptions& options) {
  std::vector<RunStatus> runs(options.paths.size());
  std::ranges::transform(options.paths, runs.begin(), read_status);
  const bool nothing = runs.size() == 1 && !runs.front().is_run;
  if (options.json || !nothing) print(options.json ? as_json(runs) : as_text(runs));
  refuse_others(runs);
  return ExitCode::finished;
}

}  // namespace

void add_status_command(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand(
      "status",
      "Say in a second where runs stand: progress, time left, health, newest checkpoint, owner,\n"
      "last evaluation. Reads headers only and writes nothing; exit code 5 if a path is no run");
  auto options = std::make_shared<StatusOptions>();
  command->add_option("runs", options->paths, "Run directories")->required();
  command->add_flag("--json", options->json, "A list with one JSON object for each run");
  command->callback(
      [options, &chosen] { chosen = [options](Session&, Log&) { return status(*options); }; });
}

}  // namespace stanley
