#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>

#include "commands/command.hpp"
#include "commands/inspect_report.hpp"
#include "config/error.hpp"
#include "parallel/agree.hpp"
#include "run/stop.hpp"

namespace stanley {
namespace {

struct InspectOptions {
  std::vector<std::string> paths;
  bool difference = false;
  bool json = false;
  bool configuration = false;
};

/// Collective. Whether rank 0 sees a directory there.
bool is_directory_for_all(Communicator& communicator, const std::string& path) {
  bool found = false;
  if (communicator.rank() == 0) {
    std::error_code ignored;
    found = std::filesystem::is_directory(path, ignored);
  }
  return communicator.max(found ? 1 : 0) > 0;
}

/// The one sentence about what can't be trusted.
[[noreturn]] void refuse(const std::vector<Untrusted>& bad, std::size_t files) {
  if (bad.size() == 1) {
    throw FileError(fmt::format("{} is not to be trusted: {}", bad.front().path,
                                printable(bad.front().reason)));
  }
  std::string names;
  for (const auto& one : bad) names += (names.empty() ? "" : ", ") + one.path;
  throw FileError(
      fmt::format("{} of {} files are not to be trusted, for the reasons in the report: {}",
                  bad.size(), files, names));
}

ExitCode inspect(const InspectOptions& options, Session& session) {
  std::vector<Inspected> all;
  std::size_t files = options.paths.size();
  for (const auto& path : options.paths) {
    if (is_directory_for_all(session.world(), path)) {
      all.emplace_back(inspect_run(session.world(), path));
      const auto& run = std::get<RunReport>(all.back());
      files += run.checkpoints.size() + run.draws.size();
    } else {
      all.emplace_back(inspect_file(session.world(), path));
    }
  }
  on_first_rank(session.world(), [&] {
    print(options.json ? as_json(all) : as_text(all, options.configuration));
    const auto bad = untrusted(all);
    if (!bad.empty()) refuse(bad, files);
  });
  return ExitCode::finished;
}

void check_pair(const std::vector<std::string>& paths, Communicator& communicator) {
  if (paths.size() != 2) {
    throw Error(ExitCode::configuration,
                fmt::format("--diff compares two checkpoints and was given {}; see stanley inspect "
                            "--help",
                            paths.size()));
  }
  for (const auto& path : paths) {
    if (!is_directory_for_all(communicator, path)) continue;
    throw FileError(
        fmt::format("{} is a directory; --diff compares two checkpoints, such as "
                    "{}/checkpoints/latest",
                    path, path));
  }
}

/// "3 of 27 arrays and 2 progress values"
std::string differences(const CheckpointDifference& difference) {
  std::vector<std::string> words;
  if (difference.differing_arrays() > 0) {
    words.push_back(
        fmt::format("{} of {} arrays", difference.differing_arrays(), difference.arrays.size()));
  }
  if (const auto count = difference.differing_progress(); count > 0) {
    words.push_back(fmt::format("{} progress value{}", count, count == 1 ? "" : "s"));
  }
  return fmt::format("{}", fmt::join(words, " and "));
}

ExitCode compare(const InspectOptions& options, Session& session) {
  check_pair(options.paths, session.world());
  const std::string& first = options.paths[0];
  const std::string& second = options.paths[1];
  const CheckpointDifference difference = compare_checkpoints(session.world(), first, second);
  on_first_rank(session.world(), [&] {
    print(options.json ? as_json(difference, first, second) : as_text(difference, first, second));
  });
  if (difference.equal()) return ExitCode::finished;
  throw FileError(fmt::format("{} and {} differ in {}", first, second, differences(difference)));
}

}  // namespace

std::vector<Untrusted> untrusted(const std::vector<Inspected>& all) {
  std::vector<Untrusted> bad;
  const auto add = [&](const auto& report) {
    if (!report.problems.empty()) bad.push_back({report.path, report.problems.front()});
  };
  for (const auto& one : all) {
    std::visit(add, one);
    if (const auto* run = std::get_if<RunReport>(&one)) {
      std::ranges::for_each(run->checkpoints, add);
      std::ranges::for_each(run->draws, add);
    }
  }
  return bad;
}

void add_inspect_command(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand(
      "inspect",
      "Say what checkpoints, draw files, data files and run directories hold, and verify them;\n"
      "exit code 5 if one of them is damaged, incomplete or unreadable. --diff: exit code 5 if "
      "the\n"
      "two checkpoints differ in an array or in their progress (clocks and ranks aside)");
  auto options = std::make_shared<InspectOptions>();
  command->add_option("paths", options->paths, "Files or run directories")->required();
  command->add_flag("--diff", options->difference,
                    "Compare two checkpoints array by array, bit by bit");
  command->add_flag("--configuration", options->configuration,
                    "Print the configuration too (--json always has it)");
  command->add_flag("--json", options->json, "One JSON object instead of text");
  command->callback([options, &chosen] {
    chosen = [options](Session& session, Log&) {
      release_signals();
      return options->difference ? compare(*options, session) : inspect(*options, session);
    };
  });
}

}  // namespace stanley
