#pragma once

#include <cstddef>
#include <limits>
#include <optional>
#include <string>

namespace stanley {

/// Writes out what a shell would in a path: "~" or "~/" at its beginning as $HOME, "$NAME" and
/// "${NAME}" as the environment's variables. Throws Error(configuration) that names `key` where a
/// variable is not set or "~user" stands there.
std::string expand_path(const std::string& path, const std::string& key);

/// The bytes of a file, the first `most` of them; none, with the reason in errno, if it can't be
/// read or is a folder.
std::optional<std::string> read_file(const std::string& path,
                                     std::size_t most = std::numeric_limits<std::size_t>::max());

}  // namespace stanley
