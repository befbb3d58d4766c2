#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "config/error.hpp"

namespace stanley {

/// A file descriptor, closed when it goes. Error(input_output) if the file can't be opened.
class Descriptor {
 public:
  Descriptor(const std::string& path, int flags)
      : number_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {
    if (number_ >= 0) return;
    const std::string reason = std::strerror(errno);
    throw Error(ExitCode::input_output, "cannot open " + path + ": " + reason);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { ::close(number_); }

  int number() const { return number_; }

 private:
  int number_;
};

}  // namespace stanley
