#pragma once

#include <string>
#include <vector>

#include "config/config.hpp"
#include "config/document.hpp"
#include "config/keys.hpp"
#include "config/problems.hpp"

namespace stanley {

/// Writes what the document gives into the members that the keys are bound to, each checked alone
/// (name, type, range). Each mistake goes to `problems`, and its member then holds nothing of use.
/// Returns the paths of the entries that no key is named by, which are mistakes too.
std::vector<std::string> read_keys(const Value& document, const std::vector<Key>& keys,
                                   Problems& problems);

/// What must hold between keys. Each mistake is placed at the first of its keys that the document
/// gives, and names all of them; a check whose keys already have a mistake of their own is silent.
void check_relations(const Config& config, const Value& document, Problems& problems);

}  // namespace stanley
