#include "evaluation/opened.hpp"

#include <fmt/format.h>

#include <filesystem>

#include "config/error.hpp"
#include "storage/checkpoint.hpp"
#include "storage/json_values.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;

/// One rank. The file that a path means now, a run directory's newest checkpoint; empty where there
/// is none.
std::string meant_by(const std::string& path) {
  std::error_code failure;
  if (!fs::is_directory(path, failure)) {
    const fs::path file = fs::canonical(path, failure);
    return failure ? "" : file.string();
  }
  const std::string folder = path + "/checkpoints";
  try {
    const auto iterations = list_checkpoints(folder);
    return iterations.empty() ? "" : checkpoint_path(folder, iterations.front());
  } catch (const Error&) {
    return "";
  }
}

Opened open_once(const EvaluationRequest& request, Session& session) {
  Opened opened{.subject = open_subject(request.path, session.world())};
  try {
    opened.energy.emplace(open_energy(opened.subject, request.weights, session));
  } catch (const Error& error) {
    const bool of_the_file =
        error.code == ExitCode::input_output || error.code == ExitCode::configuration;
    if (request.takes_energy() || !of_the_file) throw;
    opened.without_energy = error.what();
  }
  return opened;
}

}  // namespace

Opened open_evaluated(const EvaluationRequest& request, Session& session) {
  constexpr int attempts = 5;
  const auto meant = [&] {
    return from_first_rank(session.world(), [&] { return meant_by(request.path); });
  };
  for (int attempt = 1;; ++attempt) {
    const std::string before = meant();
    try {
      Opened opened = open_once(request, session);
      const bool whole = opened.energy && opened.subject.passed_over.empty();
      if (whole || attempt == attempts) return opened;
      const std::string now = meant();
      if (now == before || now.empty()) return opened;
    } catch (const Error& error) {
      if (error.code != ExitCode::input_output) throw;
      const std::string now = meant();
      if (now == before) throw;
      if (now.empty() || attempt == attempts) {
        throw FileError(
            fmt::format("{}; it went away while it was opened: give its run, whose newest "
                        "checkpoint is taken, or raise checkpoint.keep_last there",
                        error.what()));
      }
    }
  }
}

}  // namespace stanley
