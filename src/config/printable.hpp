#pragma once

#include <string>
#include <string_view>

namespace stanley {

/// A text from a file as one line that any terminal shows: control characters as "\x1b", so that
/// nothing that a file says can look like more than its own words.
std::string printable(std::string_view text);

}  // namespace stanley
