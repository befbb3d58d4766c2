#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <regex>

#include "config/error.hpp"
#include "storage/checkpoint.hpp"
#include "storage/folder.hpp"

// The checkpoints of a directory: their names, which stay and which go.

namespace stanley {
namespace fs = std::filesystem;

namespace {

void remove_file(const fs::path& path) {
  std::error_code failure;
  fs::remove(path, failure);
  if (failure) {
    throw FileError("cannot remove " + path.string() + ": " + failure.message());
  }
}

}  // namespace

std::string checkpoint_path(const std::string& directory, std::int64_t iteration) {
  return fmt::format("{}/iteration-{:08}.h5", directory, iteration);
}

std::vector<std::int64_t> list_checkpoints(const std::string& directory) {
  static const std::regex pattern("iteration-([0-9]{8,18})\\.h5");
  std::vector<std::int64_t> iterations;
  for (const auto& path : files_in(directory)) {
    std::smatch match;
    const std::string name = fs::path(path).filename().string();
    if (std::regex_match(name, match, pattern)) iterations.push_back(std::stoll(match[1].str()));
  }
  std::sort(iterations.rbegin(), iterations.rend());
  return iterations;
}

void retain_checkpoints(const std::string& directory, std::int64_t keep_last,
                        std::optional<std::int64_t> keep_every,
                        const std::set<std::int64_t>& keep) {
  std::int64_t newer = 0;
  for (const std::int64_t iteration : list_checkpoints(directory)) {
    const bool recent = newer++ < keep_last;
    const bool periodic = keep_every && iteration % *keep_every == 0;
    if (recent || periodic || keep.contains(iteration)) continue;
    remove_file(checkpoint_path(directory, iteration));
  }
}

void remove_unfinished(const std::string& directory) {
  static const std::regex ours("(iteration-[0-9]+\\.h5|draws-[0-9]+\\.nc|latest|best)\\.part\\..*");
  for (const auto& path : files_in(directory)) {
    if (std::regex_match(fs::path(path).filename().string(), ours)) remove_file(path);
  }
}

}  // namespace stanley
