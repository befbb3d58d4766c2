#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <map>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "config/config.hpp"
#include "config/document.hpp"
#include "config/error.hpp"
#include "config/keys.hpp"

namespace stanley {
namespace {

std::string quoted(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '"' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return '"' + printable(escaped) + '"';
}

std::string text_value(const std::string& text) {
  const auto plain = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '/';
  };
  return std::ranges::all_of(text, plain) && reads_as_text(text) ? text : quoted(text);
}

/// The value of a key in YAML's flow style. fmt's "{}" is the shortest text that reads back as the
/// same double.
struct ValueWriter {
  bool plain{false};  ///< text without quotes

  template <typename T>
  requires std::is_arithmetic_v<T> std::string operator()(const T* value) const {
    return fmt::format("{}", *value);
  }
  std::string operator()(const std::string* value) const {
    return plain ? *value : text_value(*value);
  }
  template <std::ranges::range Numbers>
  std::string operator()(const Numbers* value) const {
    return fmt::format("[{}]", fmt::join(*value, ", "));
  }
  std::string operator()(const std::map<std::string, std::string>* value) const {
    std::vector<std::string> entries;
    for (const auto& [name, text] : *value) {
      entries.push_back(quoted(name) + ": " + quoted(text));
    }
    return fmt::format("{{{}}}", fmt::join(entries, ", "));
  }
  std::string operator()(const RestartSchedule* value) const {
    return value->from == value->to ? fmt::format("{}", value->from)
                                    : fmt::format("{{from: {}, to: {}}}", value->from, value->to);
  }
  std::string operator()(const Threshold* value) const {
    return value->quantile ? fmt::format("{{quantile: {}}}", *value->quantile)
                           : fmt::format("{}", value->value.value());
  }
  std::string operator()(const Denoise* value) const {
    if (value->steps) return fmt::format("{{steps: {}}}", *value->steps);
    return value->fitted ? "{fitted: true}" : "null";
  }
  std::string operator()(const std::vector<StageConfig>* value) const {
    std::vector<std::string> stages;
    for (StageConfig stage : *value) {
      std::vector<std::string> entries;
      for (const Key& key : describe(stage)) {
        const std::string text = std::visit(ValueWriter{}, key.member);
        if (text != "null") entries.push_back(key.path + ": " + text);
      }
      stages.push_back(fmt::format("{{{}}}", fmt::join(entries, ", ")));
    }
    return fmt::format("[{}]", fmt::join(stages, ", "));
  }
  std::string operator()(const StartMixture* value) const { return to_string(*value); }
  std::string operator()(const Choice& choice) const {
    return std::string(choice.names.at(choice.read()));
  }
  template <typename T>
  std::string operator()(const std::optional<T>* value) const {
    return value->has_value() ? (*this)(&**value) : "null";
  }
};

std::string written(const Key& key) { return std::visit(ValueWriter{}, key.member); }

std::string markdown(const std::string& text) {
  std::string result;
  for (const char c : text) {
    result += c == '|' ? "\\|" : std::string(1, c);
  }
  return result;
}

}  // namespace

std::string to_yaml(const Config& config) {
  Config copy = config;  // keys are bound to what they could change
  std::string text;
  std::vector<std::string> open;  // the sections around the last line
  for (const Key& key : describe(copy)) {
    std::vector<std::string> sections = split(key.path, '.');
    const std::string name = sections.back();
    sections.pop_back();
    const auto opened = std::ranges::mismatch(sections, open).in1 - sections.begin();
    for (auto level = static_cast<std::size_t>(opened); level < sections.size(); ++level) {
      text += std::string(2 * level, ' ') + sections[level] + ":\n";
    }
    text += std::string(2 * sections.size(), ' ') + name + ": " + written(key) + "\n";
    open = sections;
  }
  return text;
}

std::vector<std::pair<std::string, std::string>> key_values(const Config& config) {
  Config copy = config;
  std::vector<std::pair<std::string, std::string>> values;
  for (const Key& key : describe(copy)) values.emplace_back(key.path, written(key));
  return values;
}

std::string plain_value(const Config& config, const std::string& path) {
  Config copy = config;
  std::vector<std::string> known, inside;
  std::string whole;  // the key that `path` is a part of
  for (const Key& key : describe(copy)) {
    if (key.path == path) return std::visit(ValueWriter{.plain = true}, key.member);
    if (key.path.starts_with(path + ".")) inside.push_back(key.path);
    if (path.starts_with(key.path + ".")) whole = key.path;
    known.push_back(key.path);
  }
  std::string why = "unknown key; the nearest known key is " + nearest_path(path, known);
  if (!whole.empty()) why = "expected a whole key, found a part of " + whole + ": ask for that";
  if (!inside.empty()) {
    why =
        fmt::format("expected a key, found a section: ask for one of {}", fmt::join(inside, ", "));
  }
  throw Error(ExitCode::configuration, printable(path) + ": " + why);
}

std::string configuration_reference() {
  Config defaults;
  std::string text = "| key | default | meaning |\n|---|---|---|\n";
  for (const Key& key : describe(defaults)) {
    text += fmt::format("| `{}` | `{}` | {}. Takes {}. |\n", key.path, written(key),
                        markdown(key.meaning), markdown(expected(key)));
  }
  return text;
}

}  // namespace stanley
