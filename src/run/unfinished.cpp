#include "run/unfinished.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <random>
#include <regex>

#include "parallel/session.hpp"

namespace stanley {
namespace fs = std::filesystem;

std::string process_token() {
  std::random_device random;
  return fmt::format("{}-{}-{:08x}{:08x}", host_name(), ::getpid(), random(), random());
}

void remove_abandoned(const std::string& path) {
  const std::string beginning = fs::path(path).filename().string() + ".part." + host_name() + "-";
  const std::regex rest("([0-9]{1,9})-[0-9a-f]{16}");
  const fs::path parent = fs::path(path).parent_path();
  std::error_code failure;
  for (fs::directory_iterator entry(parent.empty() ? "." : parent, failure), end;
       !failure && entry != end; entry.increment(failure)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(beginning)) continue;
    std::smatch match;
    const std::string token = name.substr(beginning.size());
    if (!std::regex_match(token, match, rest)) continue;
    const auto process = static_cast<pid_t>(std::stol(match[1].str()));
    if (::kill(process, 0) != 0 && errno == ESRCH) ::unlink(entry->path().c_str());
  }
}

}  // namespace stanley
