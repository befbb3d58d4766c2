#include "run/rejection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <regex>

#include "config/error.hpp"
#include "storage/checkpoint.hpp"
#include "storage/folder.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;

void move_into(const fs::path& file, const std::string& directory) {
  std::error_code failure;
  fs::rename(file, fs::path(directory) / file.filename(), failure);
  if (failure) {
    throw FileError(
        fmt::format("{} can't be moved to {} ({})", file.string(), directory, failure.message()));
  }
}

/// What a checkpoint says of its training.
struct Told {
  std::int64_t attempt = 0;  // that wrote it, 0 where it doesn't say
  std::optional<std::int64_t> best;
};

/// Nothing if it can't be read.
std::optional<Told> told_by(const std::string& checkpoint) {
  try {
    const Progress progress = read_checkpoint_header(checkpoint).progress;
    const auto attempt = progress.find("attempt");
    return Told{attempt == progress.end() ? 0 : std::get<std::int64_t>(attempt->second),
                best_iteration(progress)};
  } catch (const Error&) {
    return std::nullopt;
  }
}

struct Checkpoints {
  std::vector<fs::path> rejected;    // newest first
  std::string newest;                // of those that stay and can be read
  std::optional<std::int64_t> best;  // that this one knows of
};

Checkpoints sort_out(const std::string& directory, std::int64_t target, std::int64_t attempt) {
  Checkpoints found;
  for (const std::int64_t iteration : list_checkpoints(directory)) {
    if (iteration <= target && !found.newest.empty()) break;
    const std::string path = checkpoint_path(directory, iteration);
    const auto told = told_by(path);
    if (!told) continue;
    if (iteration > target && told->attempt < attempt) {
      found.rejected.emplace_back(path);
    } else if (found.newest.empty()) {
      found.newest = path;
      found.best = told->best;
    }
  }
  return found;
}

/// Makes a link among the checkpoints point to one, or be gone where there is none.
void point(const char* name, const std::string& checkpoint, const RunDirectory& directory) {
  const fs::path link = fs::path(directory.checkpoints()) / name;
  std::error_code ignored;
  if (checkpoint.empty()) {
    fs::remove(link, ignored);
  } else if (fs::read_symlink(link, ignored) != fs::path(checkpoint).filename()) {
    move_link(name, checkpoint, directory.token());
  }
}

/// Draw files after `target`.
std::vector<fs::path> later_draws(const std::string& directory, std::int64_t target) {
  static const std::regex pattern("draws-([0-9]{8,18})\\.nc");
  std::vector<fs::path> files;
  for (const fs::path path : files_in(directory)) {
    std::smatch match;
    const std::string name = path.filename().string();
    if (std::regex_match(name, match, pattern) && std::stoll(match[1].str()) > target) {
      files.push_back(path);
    }
  }
  return files;
}

}  // namespace

void point_best_at(std::optional<std::int64_t> iteration, const RunDirectory& directory) {
  std::error_code ignored;
  std::string path;
  if (iteration) path = checkpoint_path(directory.checkpoints(), *iteration);
  if (!fs::exists(path, ignored)) path.clear();
  point(best_link, path, directory);
}

void reject_files(const RunDirectory& directory, std::int64_t target, std::int64_t attempt) {
  const std::string rejected = directory.rejected(attempt);
  const Checkpoints checkpoints = sort_out(directory.checkpoints(), target, attempt);
  // First, so that no reader ever finds them without their files.
  point(latest_link, checkpoints.newest, directory);
  point_best_at(checkpoints.best, directory);
  std::vector<fs::path> files = checkpoints.rejected;
  for (const fs::path& path : later_draws(directory.samples(), target)) {
    // Where one is rejected already, this is the new attempt's, which will be written again.
    if (!fs::exists(fs::path(rejected) / path.filename())) files.push_back(path);
  }
  if (files.empty()) return;
  std::error_code failure;
  fs::create_directories(rejected, failure);
  if (failure) {
    throw FileError(fmt::format("{} can't be made ({})", rejected, failure.message()));
  }
  for (const fs::path& file : files) move_into(file, rejected);
  for (const auto& folder : {rejected, directory.checkpoints(), directory.samples()}) {
    synchronise_folder(folder);
  }
}

}  // namespace stanley
