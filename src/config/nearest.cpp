#include <algorithm>
#include <cstddef>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/document.hpp"
#include "config/keys.hpp"

namespace stanley {
namespace {

/// Levenshtein's distance: insertions, deletions and substitutions.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

/// Is one short for the other: "lr" or "rate" for "learning_rate"?
bool abbreviates(std::string_view brief, std::string_view name) {
  const std::vector<std::string> words = split(std::string(name), '_');
  if (words.size() == 1) return false;
  std::string initials;
  for (const std::string& word : words) initials += word.substr(0, 1);
  return brief == initials || std::ranges::find(words, brief) != words.end();
}

// In quarters of an edit.
constexpr std::size_t per_edit = 4;
constexpr std::size_t per_abbreviation = 5;
constexpr std::size_t per_wrong_section = 6;
constexpr std::size_t nothing_alike = 1000;

std::size_t misspelling(std::string_view a, std::string_view b) {
  const std::size_t edits = edit_distance(a, b);
  return per_edit * edits + (edits < a.size() ? 0 : nothing_alike);
}

std::size_t name_distance(std::string_view a, std::string_view b) {
  const bool brief = abbreviates(a, b) || abbreviates(b, a);
  return std::min(misspelling(a, b), brief ? per_abbreviation : nothing_alike);
}

/// With the dot behind it.
std::string_view section_of(std::string_view path) { return path.substr(0, path.rfind('.') + 1); }

std::string_view last_name(std::string_view path) { return path.substr(path.rfind('.') + 1); }

}  // namespace

std::string nearest_path(const std::string& path, const std::vector<std::string>& known) {
  // Nobody's key is longer than this; a pasted file must not cost seconds.
  const std::string_view start = std::string_view(path).substr(0, 200);
  const auto distance_to = [start](const std::string& other) {
    // A right name in a wrong section costs more than one that is brief, or misspelt by one letter,
    // in the right one: sampler.size means step_size.
    return std::min(misspelling(start, other),
                    name_distance(last_name(start), last_name(other)) +
                        (section_of(start) == section_of(other) ? 0 : per_wrong_section));
  };
  return *std::ranges::min_element(known, {}, distance_to);
}

}  // namespace stanley
