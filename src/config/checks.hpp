#pragma once

#include <vector>

#include "config/config.hpp"
#include "config/document.hpp"
#include "config/problems.hpp"

namespace stanley {

/// What must hold between keys. Each mistake is placed at the first of its keys that the document
/// gives, and names all of them; a check whose keys already have a mistake of their own is silent.
void check_relations(const Config& config, const Value& document, Problems& problems);

}  // namespace stanley
