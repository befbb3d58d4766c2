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

/// The attempt that wrote the checkpoint, 0 where it doesn't say; nothing if it can't be read.
std::optional<std::int64_t> attempt_of(const std::string& checkpoint) {
  try {
    const Progress progress = read_checkpoint_header(checkpoint).progress;
    const auto found = progress.find("attempt");
    return found == progress.end() ? 0 : std::get<std::int64_t>(found->second);
  } catch (const Error&) {
    return std::nullopt;
  }
}

struct Checkpoints {
  std::vector<fs::path> rejected;  // newest first
  std::string newest;              // of those that stay and can be read
};

Checkpoints sort_out(const std::string& directory, std::int64_t target, std::int64_t attempt) {
  Checkpoints found;
  for (const std::int64_t iteration : list_checkpoints(directory)) {
    if (iteration <= target && !found.newest.empty()) break;
    const std::string path = checkpoint_path(directory, iteration);
    const auto written_by = attempt_of(path);
    if (!written_by) continue;
    if (iteration > target && *written_by < attempt) {
      found.rejected.emplace_back(path);
    } else if (found.newest.empty()) {
      found.newest = path;
    }
  }
  return found;
}

/// Makes the link `latest` point to the checkpoint, or be gone where there is none.
void point_latest_at(const std::string& checkpoint, const RunDirectory& directory) {
  const fs::path link = fs::path(directory.checkpoints()) / latest_link;
  std::error_code ignored;
  if (checkpoint.empty()) {
    fs::remove(link, ignored);
  } else if (fs::read_symlink(link, ignored) != fs::path(checkpoint).filename()) {
    move_link(latest_link, checkpoint, directory.token());
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

void reject_files(const RunDirectory& directory, std::int64_t target, std::int64_t attempt) {
  const std::string rejected = directory.rejected(attempt);
  const Checkpoints checkpoints = sort_out(directory.checkpoints(), target, attempt);
  // First, so that no reader ever finds it without its file.
  point_latest_at(checkpoints.newest, directory);
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
