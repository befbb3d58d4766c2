#pragma once

#include <string>
#include <vector>

namespace stanley {

/// The one of `known` (dotted paths, at least one) that `path` was most likely meant to be, by the
/// edit distance of the whole paths or of their last names, one of which may be short for the
/// other.
std::string nearest_path(const std::string& path, const std::vector<std::string>& known);

}  // namespace stanley
