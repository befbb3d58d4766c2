#include "storage/folder.hpp"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "config/error.hpp"
#include "storage/descriptor.hpp"

namespace stanley {
namespace fs = std::filesystem;

std::vector<std::string> files_in(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code failure;
  for (fs::directory_iterator entry(folder, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    files.push_back(entry->path().string());
  }
  if (failure && failure != std::errc::no_such_file_or_directory) {
    throw FileError("cannot list " + folder + ": " + failure.message());
  }
  std::sort(files.begin(), files.end(), std::greater());
  return files;
}

bool is_unfinished_name(const std::string& path) {
  const std::string name = fs::path(path).filename().string();
  return name.ends_with(".part") || name.find(".part.") != std::string::npos;
}

std::string followed(const std::string& path) {
  constexpr int most_links = 40;  // as the system's own limit: they may go in a circle
  fs::path place(path);
  std::error_code failure;
  for (int i = 0; i < most_links && fs::is_symlink(place, failure); ++i) {
    const fs::path target = fs::read_symlink(place, failure);
    if (failure) break;
    place = place.parent_path() / target;
  }
  return place.string();
}

void synchronise_folder(const std::string& folder) {
  bring_to_disk(Descriptor(folder, O_RDONLY | O_DIRECTORY).number(), folder);
}

}  // namespace stanley
