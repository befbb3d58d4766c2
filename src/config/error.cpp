#include "config/error.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <new>
#include <optional>
#include <system_error>

namespace stanley {
namespace {

constexpr const char* bug_report =
    "; please report this bug to those who gave you this program, with the command line, what "
    "`stanley --version` says and the run's log.txt";

/// The text after `beginning` up to `end` or the text's end; empty if there is no such beginning.
std::string between(const std::string& text, const std::string& beginning, const std::string& end) {
  const std::size_t found = text.find(beginning);
  if (found == std::string::npos) return "";
  const std::size_t first = found + beginning.size();
  return text.substr(first, text.find(end, first) - first);
}

/// "16.4 GB" from a number of bytes in digits.
std::string size_text(const std::string& digits) {
  const double bytes = std::strtod(digits.c_str(), nullptr);
  return bytes < 1e9 ? fmt::format("{:.0f} MB", bytes / 1e6)
                     : fmt::format("{:.1f} GB", bytes / 1e9);
}

/// Which memory is full, how much was asked for, and what to reduce; nothing if it is another
/// failure. LibTorch has no type of its own for it, but for GPUs, which it says all about.
std::optional<std::string> lack_of_memory(const std::exception& exception,
                                          const std::string& line) {
  const std::string fewer_on_gpu =
      "; lower chains.active, data.batch, energy.channels or chains.total, or use more GPUs";
  const std::string fewer =
      "; lower chains.total, samples.chains, data.batch or energy.channels, or use more nodes";
  if (line.find("CUDA out of memory") != std::string::npos) {
    const std::string details = between(line, "CUDA out of memory. ", " Including");
    return "out of memory on the GPU" + (details.empty() ? "" : ": " + details) + fewer_on_gpu;
  }
  if (line.starts_with("CUDA") && line.find("out of memory") != std::string::npos) {
    return "out of memory on the GPU" + fewer_on_gpu;
  }
  if (line.find("can't allocate memory") != std::string::npos) {
    const std::string bytes = between(line, "you tried to allocate ", " bytes");
    return "out of host memory" + (bytes.empty() ? "" : ": asked for " + size_text(bytes)) + fewer;
  }
  if (dynamic_cast<const std::bad_alloc*>(&exception) != nullptr) {
    return "out of host memory" + fewer;
  }
  if (line.find("out of memory") != std::string::npos) return line + fewer;
  // What oneDNN says where it finds no room for an operation.
  if (line.starts_with("could not create a primitive")) return "out of host memory" + fewer;
  return std::nullopt;
}

/// What LibTorch refuses where every operation must repeat its bits (choose_gpu_arithmetic()):
/// "cumsum_cuda_kernel"; empty for all other words.
std::string unrepeatable_operation(const std::string& words) {
  const std::size_t end = words.find(" does not have a deterministic implementation");
  if (end == std::string::npos) return {};
  const std::size_t before = words.find_last_of(" \n", end - 1);
  const std::size_t begin = before == std::string::npos ? 0 : before + 1;
  return words.substr(begin, end - begin);
}

}  // namespace

std::string packed(const Error& error) {
  return std::to_string(static_cast<int>(error.code)) + " " + error.what();
}

Error unpacked(const std::string& text) {
  const std::size_t space = text.find(' ');
  return {static_cast<ExitCode>(std::stoi(text.substr(0, space))), text.substr(space + 1)};
}

Error as_error(const std::exception& exception) {
  if (const auto* error = dynamic_cast<const Error*>(&exception)) return *error;
  // LibTorch puts a stack below its first line.
  const std::string what = exception.what();
  const std::string line = what.substr(0, what.find('\n'));
  if (const auto memory = lack_of_memory(exception, line)) return {ExitCode::environment, *memory};
  for (const char* beginning : {"CUDA error", "CUDA driver", "cuDNN error", "CUDNN", "cuBLAS"}) {
    if (!line.starts_with(beginning)) continue;
    return {ExitCode::environment,
            line + "; the GPU or its driver failed: try another node, or run.device cpu"};
  }
  if (const std::string operation = unrepeatable_operation(what); !operation.empty()) {
    return {ExitCode::configuration,
            operation +
                " of this energy doesn't give the same bits each time on a GPU, as a run that goes "
                "on after a stop must: do without it in the module of energy.path, or set "
                "run.device to cpu"};
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

std::string printable(std::string_view text) {
  std::string shown;
  for (const char character : text) {
    const auto code = static_cast<unsigned char>(character);
    if (code >= 0x20 && code != 0x7f) {
      shown += character;
    } else {
      shown += fmt::format("\\x{:02x}", code);
    }
  }
  return shown;
}

}  // namespace stanley
