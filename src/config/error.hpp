#pragma once

#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>

namespace stanley {

/// How the program ends: an interface that job scripts rely on (README.md, "Exit codes").
enum class ExitCode : int {
  finished = 0,
  configuration = 2,  ///< usage or configuration
  environment = 3,    ///< device, driver, launcher, library
  diverged = 4,       ///< the training diverged and could not recover
  input_output = 5,   ///< a file that is missing, broken, full or in use
  communication = 6,  ///< MPI, NCCL or the watchdog
  bug = 70,           ///< ours
  requeue = 85,       ///< checkpointed, please start again
};

/// The one exception type of the program. The message is one clear sentence (or one line for each
/// mistake in a configuration) that names the file, key or value, what was expected and what to
/// do. Only main() catches it for good, and turns it into a message and an exit code.
class Error : public std::runtime_error {
 public:
  Error(ExitCode exit_code, const std::string& message)
      : std::runtime_error(message), code(exit_code) {}

  ExitCode code;
  bool agreed = false;  ///< every rank knows it: rank 0 tells it for all
  int rank = -1;        ///< the one that failed; -1: the rank that throws
};

/// A file that is missing, broken, full or in use.
struct FileError : Error {
  explicit FileError(const std::string& message) : Error(ExitCode::input_output, message) {}
};

/// An error as a text that crosses from one rank or process to another, and back.
std::string packed(const Error& error);
Error unpacked(const std::string& text);

/// The exception as the program tells it: an Error as it is; lack of memory (which memory, how much
/// was asked for, what to reduce) and a GPU's faults as errors of the environment; all else as a
/// bug of ours, by the first line of what it says.
Error as_error(const std::exception& exception);

/// A text from a file as one line that any terminal shows: control characters as "\x1b", so that
/// nothing that a file says can look like more than its own words.
std::string printable(std::string_view text);

}  // namespace stanley
