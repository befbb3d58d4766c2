#include "storage/descriptor.hpp"

#include <array>
#include <cstring>

namespace stanley {

std::string system_reason(int error) {
  const bool full = error == ENOSPC || error == EDQUOT;
  return std::string(std::strerror(error)) + (full ? "; free some space" : "");
}

int write_whole(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    if (written == 0) return EIO;  // or it would be tried for ever
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

int read_whole(int descriptor, std::string& text) {
  std::array<char, 1 << 16> part;
  for (;;) {
    const ssize_t count = ::read(descriptor, part.data(), part.size());
    if (count > 0) text.append(part.data(), static_cast<std::size_t>(count));
    if (count == 0) return 0;
    if (count < 0 && errno != EINTR) return errno;
  }
}

int synchronise(int descriptor) {
  while (::fsync(descriptor) != 0) {
    if (errno == EINTR) continue;
    return errno == EINVAL ? 0 : errno;  // a file system that has nothing to synchronise says so
  }
  return 0;
}

void bring_to_disk(int descriptor, const std::string& path) {
  const int error = synchronise(descriptor);
  if (error == 0) return;
  throw FileError("cannot bring " + path + " to the disk: " + system_reason(error));
}

}  // namespace stanley
