#include "config/read_file.hpp"

#include <algorithm>
#include <fstream>

namespace stanley {

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
