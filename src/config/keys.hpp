#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/config.hpp"

namespace stanley {

/// The form of a text, beyond being text.
struct TextForm {
  const char* words;    ///< "a name of letters"
  const char* pattern;  ///< a regular expression for editors, which may let more through
  bool (*holds)(const std::string& text);
};

/// What a key takes of the values of its type.
struct Limits {
  double low{-std::numeric_limits<double>::infinity()};
  double high{std::numeric_limits<double>::infinity()};
  bool low_open{false};
  bool high_open{false};
  bool increasing{false};         ///< a pair [low, high] with low < high
  const TextForm* form{nullptr};  ///< null: any text

  bool hold(double value) const;
  std::string text() const;  ///< " of at least 1", " in (0, 1]"; empty without limits
};

/// A key that takes one of a few names, whatever its enumeration.
struct Choice {
  std::vector<std::string_view> names;
  std::function<std::size_t()> read;
  std::function<void(std::size_t)> write;
};

/// Where a key's value lives in a Config: the type decides how it is read and written.
using Member =
    std::variant<std::int64_t*, std::uint32_t*, std::optional<std::int64_t>*, std::optional<int>*,
                 double*, std::optional<double>*, bool*, std::string*, std::optional<std::string>*,
                 std::array<double, 2>*, std::optional<std::array<double, 2>>*,
                 std::vector<std::int64_t>*, std::map<std::string, std::string>*, RestartSchedule*,
                 Threshold*, StartMixture*, Denoise*, std::vector<StageConfig>*, Choice>;

struct Key {
  std::string path;
  std::string meaning;  ///< one line with the unit, without the range
  Member member;
  Limits limits{};
};

/// Every key of the configuration, bound to `config`, in the order of the printed file: the one
/// declaration that reading, writing, checking and the reference come from. `config` must outlive
/// the keys.
std::vector<Key> describe(Config& config);

/// The keys of one stage of `stages`, bound to it. Each but the size may be left out.
std::vector<Key> describe(StageConfig& stage);

/// What the key takes, in words: "an integer of at least 1", "one of adam, sgd".
std::string expected(const Key& key);

/// Names of the mappings below a key that takes a number or a mapping (threshold: quantile).
std::vector<std::string> keys_inside(const Key& key);

/// The one of `known` (dotted paths, at least one) that `path` was most likely meant to be, by the
/// edit distance of the whole paths or of their last names, one of which may be short for the
/// other.
std::string nearest_path(const std::string& path, const std::vector<std::string>& known);

}  // namespace stanley
