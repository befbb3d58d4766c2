#pragma once

#include <functional>
#include <string>

namespace stanley {

/// What a child process had to say.
struct ChildReport {
  std::string last{};   ///< the last text that it sent whole
  std::string crash{};  ///< "signal 11, Segmentation fault" if one ended it, else empty
};

using Send = std::function<void(const std::string&)>;

/// Runs `step` in a process of its own, since HDF5 crashes over some damaged bytes. `step` sends
/// texts, each in place of the one before. Throws Error(environment) where no process can be
/// started, and what `step` throws as Error.
ChildReport in_child(const std::function<void(const Send&)>& step);

}  // namespace stanley
