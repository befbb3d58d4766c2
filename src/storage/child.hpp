#pragma once

#include <functional>
#include <string>

namespace stanley {

/// What a child process had to say.
struct ChildReport {
  std::string last{};   ///< the last text that it sent whole
  std::string crash{};  ///< "signal 11, Segmentation fault" if one ended it, else empty
};

/// "it is damaged: HDF5 cannot read it to the end (signal 11, Segmentation fault)".
std::string damage_of_crash(const ChildReport& report);

using Send = std::function<void(const std::string&)>;

/// Runs `step` in a process of its own, since HDF5 crashes over some damaged bytes. `step` sends
/// texts, each in place of the one before. Throws Error(environment) where no process can be
/// started, and what `step` throws as Error.
ChildReport in_child(const std::function<void(const Send&)>& step);

/// Seconds of the processor's time, many times what is needed: for what describes a file, and for
/// some MiB of an array.
inline constexpr int description_seconds = 3, piece_seconds = 20;

/// In a child, before each piece of work: ends it (SIGXCPU) once it has used so many more seconds
/// of the processor's time, since HDF5 never comes back from some damaged bytes.
void prolong_child(int seconds);

}  // namespace stanley
