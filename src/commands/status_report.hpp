#pragma once

#include <string>
#include <vector>

#include "run/status.hpp"

namespace stanley {

// Text for a terminal, without a last line feed: a block of a single run, a table of several.
std::string as_text(const std::vector<RunStatus>& runs);

/// A list with one object for each run.
std::string as_json(const std::vector<RunStatus>& runs);

}  // namespace stanley
