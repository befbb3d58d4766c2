#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace stanley {

// What a plain YAML scalar is. Stricter than YAML 1.1: yes, on, 0x10, 1_000 and 017 are no numbers
// or truth values here, so that nothing is read as something that its author didn't mean.

std::optional<std::int64_t> as_integer(const std::string& text);  ///< none if too large, too
std::optional<double> as_number(const std::string& text);  ///< finite; an integer is a number too
std::optional<bool> as_bool(const std::string& text);      ///< true or false

/// Whether a plain scalar is text, not a number, a truth value or null.
bool reads_as_text(const std::string& text);

}  // namespace stanley
