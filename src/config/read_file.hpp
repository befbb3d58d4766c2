#pragma once

#include <cstddef>
#include <limits>
#include <optional>
#include <string>

namespace stanley {

/// The bytes of a file, the first `most` of them; none, with the reason in errno, if it can't be
/// read or is a folder.
std::optional<std::string> read_file(const std::string& path,
                                     std::size_t most = std::numeric_limits<std::size_t>::max());

}  // namespace stanley
