#include "config/document.hpp"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <sstream>
#include <utility>

namespace stanley {
namespace {

// Far above any real configuration; they stop aliases that multiply.
constexpr std::size_t deepest_level = 32;
constexpr int most_values = 100'000;

constexpr const char* text_tag = "tag:yaml.org,2002:str";  // !!str: what quotes say, too

std::string shortened(const std::string& text) {
  constexpr std::size_t longest = 60;
  std::string result = text.substr(0, longest);
  std::replace_if(
      result.begin(), result.end(),
      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
  if (text.size() <= longest) {
    return result;
  }
  // Not in the middle of a UTF-8 character.
  while (!result.empty() && (static_cast<unsigned char>(text[result.size()]) & 0xc0) == 0x80) {
    result.pop_back();
  }
  return result + "...";
}

/// Builds the tree from the parser's events. YAML::Load is no choice: it can't tell a second
/// document, and YAML::LoadAll never ends on some broken files (a stray comma at the start).
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const std::string& path, const Place& origin, Problems& problems)
      : path_(path), origin_(origin), problems_(problems) {
    root_.place = origin;
  }

  int documents() const { return documents_; }
  Place last_start() const { return last_start_; }
  Value&& take() { return std::move(root_); }

  Place place_of(const YAML::Mark& mark) const {
    if (origin_.override_index >= 0 || mark.is_null()) {
      return origin_;
    }
    return {mark.line + 1, mark.column + 1, -1, origin_.file};
  }

  void OnDocumentStart(const YAML::Mark& mark) override {
    ++documents_;
    last_start_ = place_of(mark);
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    finish(begin(mark, Value::Kind::null, anchor));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    Node node = begin(mark, Value::Kind::scalar, anchor);
    node.value.text = text;
    node.value.quoted = tag == "!" || tag == text_tag;
    if (!node.value.quoted) refuse_tag(tag, node.value.place);
    finish(std::move(node));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto target = anchors_.find(anchor);
    if (target == anchors_.end()) {
      throw YAML::ParserException(mark, "an alias inside the value that it stands for");
    }
    count(target->second, mark);
    finish({target->second, YAML::NullAnchor});
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    refuse_tag(tag, place_of(mark));
    open_.push_back(begin(mark, Value::Kind::list, anchor));
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    refuse_tag(tag, place_of(mark));
    open_.push_back(begin(mark, Value::Kind::mapping, anchor));
  }
  void OnMapEnd() override { close(); }

 private:
  struct Node {
    Value value;
    YAML::anchor_t anchor;
    std::optional<Value> pending_key{};  ///< of a mapping: the key whose value comes next
  };

  /// The parser gives ? to what has no tag.
  void refuse_tag(const std::string& tag, const Place& place) {
    if (tag.empty() || tag == "?") return;
    problems_.add(place, open_path(),
                  fmt::format("expected a value without a tag, found {}", shortened(tag)));
  }

  Node begin(const YAML::Mark& mark, Value::Kind kind, YAML::anchor_t anchor) {
    if (open_.size() >= deepest_level) {
      throw YAML::ParserException(mark, "values are nested too deeply");
    }
    Node node{{}, anchor};
    node.value.kind = kind;
    node.value.place = place_of(mark);
    count(node.value, mark);
    return node;
  }

  void count(const Value& value, const YAML::Mark& mark) {
    if (++values_ > most_values) {
      throw YAML::ParserException(mark, "too many values");
    }
    for (const Value& child : value.children) {
      count(child, mark);
    }
  }

  void close() {
    Node node = std::move(open_.back());
    open_.pop_back();
    finish(std::move(node));
  }

  void finish(Node node) {
    if (node.anchor != YAML::NullAnchor) {
      anchors_[node.anchor] = node.value;
    }
    if (open_.empty()) {
      root_ = std::move(node.value);
      return;
    }
    Node& outer = open_.back();
    if (outer.value.kind == Value::Kind::list) {
      outer.value.children.push_back(std::move(node.value));
    } else if (!outer.pending_key) {
      outer.pending_key = std::move(node.value);
    } else {
      const Value key = *std::exchange(outer.pending_key, std::nullopt);
      add_entry(outer.value, key, std::move(node.value));
    }
  }

  void add_entry(Value& mapping, const Value& key, Value&& value) {
    if (key.kind != Value::Kind::scalar) {
      problems_.add(key.place, open_path(), "expected the name of a key, found " + found(key));
      return;
    }
    if (const Value* first = mapping.child(key.text)) {
      const std::string where =
          key.place.line == 0 ? "" : fmt::format(", first in line {}", first->key_place.line);
      problems_.add(key.place, join(open_path(), key.text),
                    "repeated key" + where + ": keep one of the two");
      return;
    }
    value.key = key.text;
    value.key_place = key.place;
    mapping.children.push_back(std::move(value));
  }

  std::string open_path() const {
    std::string path = path_;
    for (const Node& node : open_) {
      if (node.pending_key) {
        path = join(path, node.pending_key->text);
      }
    }
    return path;
  }

  std::string path_;
  Place origin_;  ///< without line and column
  Problems& problems_;
  Value root_;
  std::vector<Node> open_;  ///< lists and mappings whose end is still to come
  std::map<YAML::anchor_t, Value> anchors_;
  int documents_{0};
  Place last_start_;
  int values_{0};
};

/// The first line, counted from 1, that a tab indents, of the first `lines`; 0: none.
int tab_indented(const std::string& text, int lines) {
  std::istringstream stream(text);
  std::string line;
  for (int number = 1; number <= lines && std::getline(stream, line); ++number) {
    const std::size_t tab = line.find_first_not_of(' ');
    if (tab != std::string::npos && line[tab] == '\t') return number;
  }
  return 0;
}

/// The one document in `text`; none, with the reason in `problems`, if there isn't exactly one.
std::optional<Value> parse_yaml(const std::string& text, const std::string& path,
                                const Place& origin, Problems& problems) {
  if (text.size() > largest_text || text.find('\0') != std::string::npos) {
    problems.add(origin, path, "expected a YAML text of at most 1 MiB, found something else");
    return std::nullopt;
  }
  TreeBuilder builder(path, origin, problems);
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    while (builder.documents() < 2 && parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    // The parser tells what comes of a tab, not the tab.
    const int tab = tab_indented(text, error.mark.line + 1);
    problems.add(builder.place_of(error.mark), path,
                 tab == 0 ? "not YAML: " + error.msg
                          : fmt::format("not YAML: line {} is indented by a tab: YAML takes "
                                        "spaces alone",
                                        tab));
    return std::nullopt;
  }
  if (builder.documents() > 1) {
    problems.add(builder.last_start(), path,
                 "expected one YAML document, found the start of another, or a character that "
                 "has no place here");
    return std::nullopt;
  }
  return builder.take();
}

/// {a: {b: value}} for the path a.b; none if a part of the path is empty.
std::optional<Value> wrap(const std::string& path, Value value, const Place& place) {
  const std::vector<std::string> names = split(path, '.');
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    if (name->empty()) return std::nullopt;
    value.key = *name;
    value.key_place = place;
    Value mapping{.kind = Value::Kind::mapping, .place = place};
    mapping.children.push_back(std::move(value));
    value = std::move(mapping);
  }
  return value;
}

/// The value in YAML's flow style, for messages.
std::string flow_text(const Value& value) {
  if (value.kind == Value::Kind::null) {
    return "null";
  }
  if (value.kind == Value::Kind::scalar) {
    return value.quoted ? fmt::format("\"{}\"", value.text) : value.text;
  }
  const bool list = value.kind == Value::Kind::list;
  std::string text;
  for (const Value& item : value.children) {
    text += text.empty() ? "" : ", ";
    text += list ? "" : item.key + ": ";
    text += flow_text(item);
  }
  return list ? "[" + text + "]" : "{" + text + "}";
}

}  // namespace

const Value* Value::child(const std::string& name) const {
  if (kind != Kind::mapping) {
    return nullptr;
  }
  const auto match = std::ranges::find(children, name, &Value::key);
  return match == children.end() ? nullptr : &*match;
}

const Value* Value::descendant(const std::string& path) const {
  const std::size_t dot = path.find('.');
  const Value* next = child(path.substr(0, dot));
  return next == nullptr || dot == std::string::npos ? next
                                                     : next->descendant(path.substr(dot + 1));
}

std::optional<Value> Value::take(const std::string& path) {
  const std::size_t dot = path.find('.');
  const auto match = std::ranges::find(children, path.substr(0, dot), &Value::key);
  if (match == children.end()) {
    return std::nullopt;
  }
  if (dot != std::string::npos) {
    return match->take(path.substr(dot + 1));
  }
  Value taken = std::move(*match);
  children.erase(match);
  return taken;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

std::string join(const std::string& path, const std::string& name) {
  return path.empty() ? name : path + "." + name;
}

std::string found(const Value& value) { return shortened(flow_text(value)); }

std::optional<Value> read_document(const std::string& text, Problems& problems, int file) {
  const Place origin{.file = file};
  std::optional<Value> document = parse_yaml(text, "", origin, problems);
  if (!document) {
    return std::nullopt;
  }
  if (document->kind == Value::Kind::null) {
    problems.add(origin, "", "the file is empty: expected sections such as 'run:' and 'energy:'");
    return std::nullopt;
  }
  if (document->kind != Value::Kind::mapping) {
    problems.add(document->place, "",
                 "expected sections such as 'run:' and 'energy:', found " + found(*document));
    return std::nullopt;
  }
  return document;
}

void put(Value& target, Value&& source) {
  if (target.kind != Value::Kind::mapping || source.kind != Value::Kind::mapping) {
    source.key = target.key;
    target = std::move(source);
    return;
  }
  for (Value& entry : source.children) {
    const auto same = std::ranges::find(target.children, entry.key, &Value::key);
    if (same == target.children.end()) {
      target.children.push_back(std::move(entry));
    } else {
      same->key_place = entry.key_place;
      put(*same, std::move(entry));
    }
  }
}

void apply_overrides(Value& document, const std::vector<std::string>& overrides,
                     Problems& problems) {
  for (std::size_t i = 0; i < overrides.size(); ++i) {
    const Place place{0, 0, static_cast<int>(i)};
    const std::size_t equals = overrides[i].find('=');
    const std::string path = overrides[i].substr(0, equals);
    if (equals == std::string::npos) {
      problems.add(place, "", "expected key.path=value");
      continue;
    }
    std::optional<Value> value = parse_yaml(overrides[i].substr(equals + 1), path, place, problems);
    if (!value) {
      continue;
    }
    std::optional<Value> wrapped = wrap(path, *std::move(value), place);
    if (!wrapped) {
      problems.add(place, "", "expected key.path=value, found an empty name in the path");
      continue;
    }
    put(document, *std::move(wrapped));
  }
}

}  // namespace stanley
