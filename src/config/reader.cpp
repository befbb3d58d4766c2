#include "config/reader.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <variant>

namespace stanley {
namespace {

/// Reads the value of one key. Each overload returns false if the value isn't what the key takes;
/// then the caller reports it; a single number keeps its default.
class ValueReader {
 public:
  ValueReader(const Key& key, const Value& value) : key_(key), value_(value) {}

  template <typename Number>
  requires std::is_arithmetic_v<Number>
  bool operator()(Number* member) const { return number(value_, key_.limits, *member); }
  bool operator()(bool* member) const {
    const std::optional<bool> flag = value_.plain() ? as_bool(value_.text) : std::nullopt;
    *member = flag.value_or(*member);
    return flag.has_value();
  }
  bool operator()(std::string* member) const {
    *member = value_.text;
    return value_.kind == Value::Kind::scalar && (value_.quoted || reads_as_text(value_.text)) &&
           value_.text.find('\0') == std::string::npos &&
           (key_.limits.form == nullptr || key_.limits.form->holds(value_.text));
  }
  bool operator()(std::array<double, 2>* member) const {
    return value_.kind == Value::Kind::list && value_.children.size() == 2 &&
           number(value_.children[0], key_.limits, (*member)[0]) &&
           number(value_.children[1], key_.limits, (*member)[1]) &&
           !(key_.limits.increasing && (*member)[0] >= (*member)[1]);
  }
  bool operator()(std::vector<std::int64_t>* member) const {
    member->assign(value_.children.size(), 0);
    bool good = value_.kind == Value::Kind::list && !member->empty();
    for (std::size_t i = 0; good && i < member->size(); ++i) {
      good = number(value_.children[i], key_.limits, (*member)[i]);
    }
    return good;
  }
  bool operator()(std::map<std::string, std::string>* member) const {
    member->clear();
    for (const Value& entry : value_.children) {
      if (entry.kind != Value::Kind::scalar) {
        return false;
      }
      (*member)[entry.key] = entry.text;
    }
    return value_.kind == Value::Kind::mapping;
  }
  bool operator()(RestartSchedule* member) const {
    if (number(value_, key_.limits, member->from)) {
      member->to = member->from;
      return true;
    }
    const Value* from = value_.child("from");
    const Value* to = value_.child("to");
    return from != nullptr && to != nullptr && number(*from, key_.limits, member->from) &&
           number(*to, key_.limits, member->to);
  }
  bool operator()(Threshold* member) const {
    double read = 0.0;
    if (number(value_, key_.limits, read)) {
      *member = {read, std::nullopt};
      return true;
    }
    const Value* quantile = value_.child("quantile");
    if (quantile == nullptr || !number(*quantile, {.low = 0, .high = 1, .low_open = true}, read)) {
      return false;
    }
    *member = {std::nullopt, read};
    return true;
  }
  bool operator()(StartMixture* member) const {
    StartType only{};
    if (value_.kind == Value::Kind::scalar) {
      const bool good = named(value_.text, only);
      if (good) *member = only;
      return good;
    }
    std::map<StartType, double> shares;
    double sum = 0;
    for (const Value& entry : value_.children) {
      StartType law{};
      double share = 0;
      if (!named(entry.key, law) || !number(entry, key_.limits, share)) return false;
      shares[law] = share;
      sum += share;
    }
    if (value_.kind != Value::Kind::mapping || std::abs(sum - 1) > 1e-9) return false;
    *member = StartMixture(shares);
    return true;
  }
  bool operator()(Denoise* member) const {
    *member = {};
    if (value_.kind == Value::Kind::null) return true;
    if (value_.children.size() != 1) return false;
    if (const Value* fitted = value_.child("fitted")) {
      member->fitted = true;
      return fitted->plain() && as_bool(fitted->text) == true;
    }
    const Value* steps = value_.child("steps");
    return steps != nullptr && number(*steps, key_.limits, member->steps.emplace());
  }
  bool operator()(std::vector<StageConfig>* member) const {
    member->clear();
    return value_.kind == Value::Kind::list;  // each of them: DocumentReader::read_stages()
  }
  bool operator()(const Choice& choice) const {
    const auto match = std::ranges::find(choice.names, value_.text);
    if (value_.kind != Value::Kind::scalar || match == choice.names.end()) {
      return false;
    }
    choice.write(static_cast<std::size_t>(match - choice.names.begin()));
    return true;
  }
  template <typename T>
  bool operator()(std::optional<T>* member) const {
    if (value_.kind == Value::Kind::null) {
      member->reset();
      return true;
    }
    T read{};
    if (!(*this)(&read)) {
      return false;  // the relations between keys must never meet a number out of its range
    }
    *member = read;
    return true;
  }

 private:
  template <typename Enum>
  static bool named(const std::string& text, Enum& member) {
    constexpr auto names = names_of(Enum{});
    const auto* const match = std::ranges::find(names, text);
    if (match == names.end()) return false;
    member = static_cast<Enum>(match - names.begin());
    return true;
  }
  template <typename Number>
  static bool number(const Value& value, const Limits& limits, Number& member) {
    using Read = std::conditional_t<std::is_integral_v<Number>, std::int64_t, double>;
    const std::optional<Read> read = value.plain() ? as<Read>(value.text) : std::nullopt;
    if (!read || !limits.hold(static_cast<double>(*read))) {
      return false;
    }
    member = static_cast<Number>(*read);
    return true;
  }

  const Key& key_;
  const Value& value_;
};

/// Walks the document against the known keys.
class DocumentReader {
 public:
  DocumentReader(const std::vector<Key>& keys, Problems& problems)
      : keys_(keys), problems_(problems) {
    for (const Key& key : keys) {
      known_.push_back(key.path);
      for (std::size_t dot = key.path.find('.'); dot != std::string::npos;
           dot = key.path.find('.', dot + 1)) {
        if (sections_.insert(key.path.substr(0, dot)).second) {
          known_.push_back(key.path.substr(0, dot));
        }
      }
      for (const std::string& name : keys_inside(key)) {
        known_.push_back(key.path + "." + name);
      }
    }
    known_.emplace_back("base");
  }

  void read_section(const Value& section, const std::string& path) {
    for (const Value& entry : section.children) {
      const std::string full = join(path, entry.key);
      const bool nested = entry.key.find('.') == std::string::npos;
      const auto key = std::ranges::find(keys_, full, &Key::path);
      if (nested && key != keys_.end()) {
        read_key(*key, entry);
      } else if (!nested || !sections_.contains(full)) {
        report_unknown(entry, full);
      } else if (entry.kind != Value::Kind::mapping) {
        problems_.add(entry.place, full, "expected a mapping of keys, found " + found(entry));
      } else {
        read_section(entry, full);
      }
    }
  }

  /// Paths of the entries that no key is named by.
  const std::vector<std::string>& unknown() const { return unknown_; }

 private:
  static std::string described(const Key& key, const Value& value) {
    const bool takes_text = std::holds_alternative<std::string*>(key.member) ||
                            std::holds_alternative<std::optional<std::string>*>(key.member);
    const bool needs_quotes = takes_text && value.plain() && !reads_as_text(value.text);
    const bool has_zero = takes_text && value.text.find('\0') != std::string::npos;
    return found(value) + (needs_quotes ? " (to make it text, put it in quotes)"
                           : has_zero   ? " with a zero character, which no path has"
                                        : "");
  }

  /// Where the value got what it is: the last override that gave a part of it, else the file.
  static Place place_of(const Value& value) {
    Place place = value.place;
    for (const Value& child : value.children) {
      if (child.place.override_index > place.override_index) place = child.place;
    }
    return place;
  }

  void read_key(const Key& key, const Value& value) {
    if (!keys_inside(key).empty() && has_unknown_inside(key, value)) {
      return;
    }
    if (!std::visit(ValueReader(key, value), key.member)) {
      problems_.add(place_of(value), key.path,
                    fmt::format("expected {}, found {}", expected(key), described(key, value)));
    } else if (auto* const* stages = std::get_if<std::vector<StageConfig>*>(&key.member)) {
      read_stages(key, value, **stages);
    }
  }

  /// Each mistake is one of the key: no check should meet what is left of it.
  void read_stages(const Key& all, const Value& list, std::vector<StageConfig>& stages) {
    for (const Value& mapping : list.children) {
      StageConfig stage;
      const std::vector<Key> keys = describe(stage);
      const auto wrong = [&](const Place& place, const std::string& why) {
        problems_.add(place, all.path, fmt::format("stage {}: {}", stages.size() + 1, why));
      };
      if (mapping.kind != Value::Kind::mapping || mapping.child("size") == nullptr) {
        wrong(mapping.place, "expected {size: ...}, found " + found(mapping));
      }
      for (const Value& entry : mapping.children) {
        const auto key = std::ranges::find(keys, entry.key, &Key::path);
        if (key == keys.end()) {
          std::vector<std::string> names;
          for (const Key& one : keys) names.push_back(one.path);
          wrong(entry.key_place,
                fmt::format("unknown key {}; a stage has {}", entry.key, fmt::join(names, ", ")));
        } else if (!std::visit(ValueReader(*key, entry), key->member)) {
          wrong(entry.place, fmt::format("{}: expected {}, found {}", key->path, expected(*key),
                                         described(*key, entry)));
        }
      }
      stages.push_back(stage);
    }
  }

  bool has_unknown_inside(const Key& key, const Value& value) {
    const std::vector<std::string> names = keys_inside(key);
    bool unknown = false;
    for (const Value& entry : value.children) {
      if (value.kind == Value::Kind::mapping &&
          std::ranges::find(names, entry.key) == names.end()) {
        report_unknown(entry, key.path + "." + entry.key);
        unknown = true;
      }
    }
    return unknown;
  }

  void report_unknown(const Value& entry, const std::string& path) {
    unknown_.push_back(path);
    const std::string nearest = nearest_path(path, known_);
    std::string why = "unknown key; the nearest known key is " + nearest;
    if (nearest == path) why = "unknown key: a dot joins no names in a file, nest them instead";
    if (path == "base") why = "only a configuration file that is read from the disk has a base";
    problems_.add(entry.key_place, path, why);
    // Its value was probably meant for that one: no check should complain of the default there.
    problems_.distrust(nearest);
  }

  const std::vector<Key>& keys_;
  Problems& problems_;
  std::set<std::string> sections_;
  std::vector<std::string> known_, unknown_;
};

}  // namespace

std::vector<std::string> read_keys(const Value& document, const std::vector<Key>& keys,
                                   Problems& problems) {
  DocumentReader reader(keys, problems);
  reader.read_section(document, "");
  return reader.unknown();
}

}  // namespace stanley
