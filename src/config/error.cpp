#include "config/error.hpp"

#include <filesystem>
#include <new>
#include <system_error>

namespace stanley {
namespace {

constexpr const char* bug_report =
    "; please report this bug to those who gave you this program, with the command line, what "
    "`stanley --version` says and the run's log.txt";

}  // namespace

Error as_error(const std::exception& exception) {
  if (const auto* error = dynamic_cast<const Error*>(&exception)) return *error;
  // LibTorch puts a stack below its first line, and has no type of its own for lack of memory.
  const std::string what = exception.what();
  const std::string line = what.substr(0, what.find('\n'));
  if (dynamic_cast<const std::bad_alloc*>(&exception) != nullptr ||
      line.find("can't allocate memory") != std::string::npos ||
      line.find("out of memory") != std::string::npos) {
    return {ExitCode::environment,
            "out of memory; use fewer chains, a smaller batch or network, or more ranks"};
  }
  for (const char* beginning : {"CUDA error", "CUDA driver", "cuDNN error", "CUDNN", "cuBLAS"}) {
    if (!line.starts_with(beginning)) continue;
    return {ExitCode::environment,
            line + "; the GPU or its driver failed: try another node, or run.device cpu"};
  }
  if (const auto* file = dynamic_cast<const std::filesystem::filesystem_error*>(&exception)) {
    return {ExitCode::input_output,
            "cannot reach " + file->path1().string() + ": " + file->code().message()};
  }
  const auto* system = dynamic_cast<const std::system_error*>(&exception);
  if (system != nullptr && system->code() == std::errc::resource_unavailable_try_again) {
    return {ExitCode::environment,
            "no memory or no process number is left for another thread; raise the limits (ulimit)"};
  }
  return {ExitCode::bug, line + bug_report};
}

}  // namespace stanley
