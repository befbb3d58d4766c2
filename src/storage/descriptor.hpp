#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <string>
#include <string_view>

#include "config/error.hpp"

namespace stanley {

/// The system's words for an error, and what to do where the disk is full.
std::string system_reason(int error);

/// Writes all of the text, in as many calls as the system takes for it. Returns 0, or errno.
int write_whole(int descriptor, std::string_view text);

/// Appends all that can be read to the text. Returns 0, or errno.
int read_whole(int descriptor, std::string& text);

/// Brings a file or a folder to the disk. Returns 0, or errno.
int synchronise(int descriptor);

/// The same of what is named `path`, with Error(input_output) if that fails.
void bring_to_disk(int descriptor, const std::string& path);

/// A file descriptor, closed when it goes. Error(input_output) if the file can't be opened.
class Descriptor {
 public:
  Descriptor(const std::string& path, int flags) : Descriptor(path, flags, std::nothrow) {
    if (number_ >= 0) return;
    const int error = errno;
    throw FileError("cannot open " + path + ": " + system_reason(error));
  }
  /// Without an exception: number() is below 0 then, and errno says why.
  Descriptor(const std::string& path, int flags, std::nothrow_t)
      : number_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }

  int number() const { return number_; }

 private:
  int number_;
};

}  // namespace stanley
