#pragma once

#include <string>

#include "config/config.hpp"

namespace stanley {

/// Writes out what a shell would in a path: "~" or "~/" at its beginning as $HOME, "$NAME" and
/// "${NAME}" as the environment's variables. Throws Error(configuration) that names `key` where a
/// variable is not set or "~user" stands there.
std::string expand_path(const std::string& path, const std::string& key);

/// The same for every key of a configuration that is a path.
void expand_paths(Config& config);

}  // namespace stanley
