#pragma once

#include <string>

namespace stanley {

/// Writes out what a shell would in a path: "~" or "~/" at its beginning as $HOME, "$NAME" and
/// "${NAME}" as the environment's variables. Throws Error(configuration) that names `key` where a
/// variable is not set or "~user" stands there.
std::string expand_path(const std::string& path, const std::string& key);

}  // namespace stanley
