#include "config/files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>

#include "config/error.hpp"

namespace stanley {
namespace {

[[noreturn]] void refuse(const std::string& key, const std::string& path, const std::string& why) {
  throw Error(ExitCode::configuration,
              fmt::format("{}: expected a path, found {}: {}", key, path, why));
}

std::string variable(const std::string& name, const std::string& key, const std::string& path) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) refuse(key, path, "the variable " + name + " is not set");
  return value;
}

bool is_of_name(char character) {
  return std::isalnum(static_cast<unsigned char>(character)) != 0 || character == '_';
}

}  // namespace

std::string expand_path(const std::string& path, const std::string& key) {
  std::string expanded;
  std::size_t at = 0;
  if (path == "~" || path.starts_with("~/")) {
    expanded = variable("HOME", key, path);
    at = 1;
  } else if (path.starts_with("~")) {
    refuse(key, path, "write another person's home folder out");
  }
  while (at < path.size()) {
    if (path[at] != '$') {
      expanded += path[at++];
      continue;
    }
    const bool braces = at + 1 < path.size() && path[at + 1] == '{';
    const std::size_t first = at + (braces ? 2 : 1);
    std::size_t last = first;
    while (last < path.size() && is_of_name(path[last])) ++last;
    const bool closed = !braces || (last < path.size() && path[last] == '}');
    if (last == first || !closed) refuse(key, path, "$ begins no variable there");
    expanded += variable(path.substr(first, last - first), key, path);
    at = last + (braces ? 1 : 0);
  }
  return expanded;
}

std::optional<std::string> read_file(const std::string& path, std::size_t most) {
  constexpr std::size_t piece = std::size_t{1} << 20;
  std::ifstream file(path, std::ios::binary);
  // Opening a folder succeeds: only reading from it fails.
  if (!file || (file.peek() == std::ifstream::traits_type::eof() && !file.eof())) {
    return std::nullopt;
  }
  std::string bytes;
  while (file && bytes.size() < most) {
    const std::size_t before = bytes.size();
    bytes.resize(before + std::min(piece, most - before));
    file.read(bytes.data() + before, static_cast<std::streamsize>(bytes.size() - before));
    bytes.resize(before + static_cast<std::size_t>(file.gcount()));
  }
  return bytes;
}

}  // namespace stanley
