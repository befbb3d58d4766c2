#include "run/rejection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
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
    throw Error(ExitCode::input_output, fmt::format("{} can't be moved to {} ({})", file.string(),
                                                    directory, failure.message()));
  }
}

/// Of an attempt before `attempt`.
bool older(const std::string& checkpoint, std::int64_t attempt) {
  try {
    const Progress progress = read_checkpoint_header(checkpoint).progress;
    const auto found = progress.find("attempt");
    return found == progress.end() || std::get<std::int64_t>(found->second) < attempt;
  } catch (const Error&) {
    return false;
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
  std::vector<fs::path> files;
  for (const std::int64_t iteration : list_checkpoints(directory.checkpoints())) {
    const std::string path = checkpoint_path(directory.checkpoints(), iteration);
    if (iteration > target && older(path, attempt)) files.emplace_back(path);
  }
  for (const fs::path& path : later_draws(directory.samples(), target)) {
    // Where one is rejected already, this is the new attempt's, which will be written again.
    if (!fs::exists(fs::path(rejected) / path.filename())) files.push_back(path);
  }
  if (files.empty()) return;
  std::error_code failure;
  fs::create_directories(rejected, failure);
  if (failure) {
    throw Error(ExitCode::input_output,
                fmt::format("{} can't be made ({})", rejected, failure.message()));
  }
  for (const fs::path& file : files) move_into(file, rejected);
  for (const auto& folder : {rejected, directory.checkpoints(), directory.samples()}) {
    synchronise_folder(folder);
  }
}

}  // namespace stanley
