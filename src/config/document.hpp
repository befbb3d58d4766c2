#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "config/problems.hpp"

namespace stanley {

/// Far above any real configuration: it stops the wrong file.
inline constexpr std::size_t largest_text = std::size_t{1} << 20;

/// One node of a YAML document. A plain tree instead of YAML::Node: it tells repeated keys, is
/// safe to change, and an override's values can join those of the file.
struct Value {
  enum class Kind { null, scalar, list, mapping };

  std::string key{};  ///< its name in the mapping around it
  Place key_place{};
  Kind kind{Kind::null};
  Place place{};
  std::string text{};             ///< of a scalar
  bool quoted{false};             ///< then a scalar is text, never a number or true/false
  std::vector<Value> children{};  ///< of a list or mapping, in file order

  bool plain() const { return kind == Kind::scalar && !quoted; }
  const Value* child(const std::string& name) const;       ///< none: nullptr
  std::optional<Value> take(const std::string& path);      ///< the same, taken out
  const Value* descendant(const std::string& path) const;  ///< by a dotted path
};

// What a plain YAML scalar is. Stricter than YAML 1.1: yes, on, 0x10, 1_000 and 017 are no numbers
// or truth values here, so that nothing is read as something that its author didn't mean.

/// A number: std::int64_t (none if it is too large, too) or double (finite; an integer is one too).
template <typename Number>
std::optional<Number> as(const std::string& text);
std::optional<bool> as_bool(const std::string& text);  ///< true or false

/// Whether a plain scalar is text, not a number, a truth value or null.
bool reads_as_text(const std::string& text);

/// The parts between separators: {"a", "b"} of "a.b".
std::vector<std::string> split(const std::string& text, char separator);

/// "a.b", or "b" alone if the path is empty.
std::string join(const std::string& path, const std::string& name);

/// The value in YAML's flow style on one line, cut to a length that fits a message.
std::string found(const Value& value);

/// Reads one YAML document whose root must be a mapping; none if it isn't. The reason, and each
/// repeated key (the first of the same name stays), are added to `problems`, which know the file by
/// its number.
std::optional<Value> read_document(const std::string& text, Problems& problems, int file = 0);

/// Puts `source` in the place of `target`; where both are mappings, entry by entry.
void put(Value& target, Value&& source);

/// Puts each override "key.path=value" into the document.
void apply_overrides(Value& document, const std::vector<std::string>& overrides,
                     Problems& problems);

}  // namespace stanley
