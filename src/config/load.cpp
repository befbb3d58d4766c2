#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/config.hpp"
#include "config/document.hpp"
#include "config/error.hpp"
#include "config/files.hpp"
#include "config/keys.hpp"
#include "config/problems.hpp"
#include "config/reader.hpp"

namespace stanley {

namespace {

namespace fs = std::filesystem;

/// Takes out of a base what would contradict the file that inherits it: the other of noise and
/// temperature, and the keys that another type alone may have.
void give_way(Value& base, const Value& heir) {
  const auto yield = [&](const std::string& other, const std::string& set) {
    const Value* value = heir.descendant(set);
    const bool is_set = value != nullptr && value->kind != Value::Kind::null;
    if (is_set && heir.descendant(other) == nullptr) base.take(other);
  };
  yield("sampler.noise", "sampler.temperature");
  yield("sampler.temperature", "sampler.noise");
  const auto belongs = [&](const std::string& key, const std::string& type) {
    const Value* before = base.descendant(type);
    const Value* now = heir.descendant(type);
    if (before != nullptr && now != nullptr && before->text != now->text) base.take(key);
  };
  belongs("energy.path", "energy.type");
  belongs("energy.downsampling", "energy.type");
  belongs("energy.levels", "energy.type");
  belongs("data.flip", "data.type");
  belongs("data.size", "data.type");
  belongs("optimizer.momentum", "optimizer.type");
}

/// Reads the files that inherit from each other, the first of them first.
class Inheritance {
 public:
  explicit Inheritance(Problems& problems) : problems_(problems) {}

  /// The document of file number `file`, put upon that of its base; none if the text isn't one.
  std::optional<Value> read(const std::string& text, int file) {
    std::optional<Value> document = read_document(text, problems_, file);
    const std::optional<Value> named = document ? document->take("base") : std::nullopt;
    if (!named) return document;
    files_.push_back(problems_.file(file));
    std::optional<Value> base = read_base(*named);
    if (!base) {
      problems_.distrust("");  // nobody knows what it says
      return document;
    }
    give_way(*base, *document);
    put(*base, *std::move(document));
    return base;
  }

 private:
  std::optional<Value> read_base(const Value& named) {
    const bool text_like = named.quoted || reads_as_text(named.text);
    if (named.kind != Value::Kind::scalar || !text_like || named.text.empty()) {
      return refuse(named, "the path of a configuration file", found(named));
    }
    const fs::path folder = fs::path(files_.back()).parent_path();
    const std::string path = (folder / named.text).lexically_normal().string();
    const bool circle = std::ranges::any_of(files_, [&path](const std::string& heir) {
      std::error_code ignored;
      return fs::equivalent(heir, path, ignored);
    });
    if (circle) return refuse(named, "a file that doesn't inherit this one", path);
    const std::optional<std::string> text = read_file(path, largest_text + 1);
    if (!text) {
      return refuse(named, "a configuration file that can be read", path, std::strerror(errno));
    }
    std::optional<Value> document = read(*text, problems_.add_file(path));
    Config alone;  // a mistake is one, too, where the heir has another value
    if (document) read_keys(*document, describe(alone), problems_);
    return document;
  }

  std::nullopt_t refuse(const Value& named, const std::string& wanted, const std::string& is,
                        const std::string& reason = "") {
    problems_.add(
        named.place, "base",
        fmt::format("expected {}, found {}{}{}", wanted, is, reason.empty() ? "" : ": ", reason));
    return std::nullopt;
  }

  Problems& problems_;
  std::vector<std::string> files_;  ///< those that wait for their base
};

Config read_config(std::optional<Value> document, const std::vector<std::string>& overrides,
                   Problems& problems) {
  if (!document) problems.throw_if_any();
  apply_overrides(*document, overrides, problems);
  Config config;
  read_keys(*document, describe(config), problems);
  // Noise has a default, but whoever gives the temperature alone means that.
  if (config.sampler.temperature && document->descendant("sampler.noise") == nullptr) {
    config.sampler.noise.reset();
  }
  check_relations(config, *document, problems);
  problems.throw_if_any();
  return config;
}

}  // namespace

Config parse_config(const std::string& text, const std::string& name,
                    const std::vector<std::string>& overrides) {
  Problems problems(name, overrides);
  return read_config(read_document(text, problems), overrides, problems);
}

StoredConfig parse_stored_config(const std::string& text, const std::string& name,
                                 const std::vector<std::string>& overrides) {
  Problems problems(name, overrides);
  std::optional<Value> document = read_document(text, problems);
  Config unused;
  Problems untold(name, {});
  StoredConfig stored;
  if (document) stored.unknown = read_keys(*document, describe(unused), untold);
  for (const std::string& path : stored.unknown) document->take(path);
  stored.config = read_config(std::move(document), overrides, problems);
  return stored;
}

Config load_config(const std::string& path, const std::vector<std::string>& overrides) {
  const std::optional<std::string> text = read_file(path, largest_text + 1);
  if (!text) {
    throw Error(ExitCode::configuration,
                path + ": expected a configuration file that can be read: " + std::strerror(errno));
  }
  Problems problems(path, overrides);
  Config config = read_config(Inheritance(problems).read(*text, 0), overrides, problems);
  config.run.directory = expand_path(config.run.directory, "run.directory");
  config.energy.path = expand_path(config.energy.path, "energy.path");
  config.data.path = expand_path(config.data.path, "data.path");
  config.evaluation.features = expand_path(config.evaluation.features, "evaluation.features");
  config.sampling.states = expand_path(config.sampling.states, "sampling.states");
  return config;
}

void check_for_training(const Config& config) {
  if (config.chains.start.has(StartType::bank)) {
    throw Error(ExitCode::configuration,
                "chains.start: bank means the chains of a checkpoint, which `stanley sample` goes "
                "on with: for training choose uniform, normal, data or data_gaussian");
  }
  if (config.sampler.metropolis && config.sampler.type == TransitionType::preconditioned_langevin) {
    throw Error(ExitCode::configuration,
                "sampler.metropolis true corrects a proposal that stays, and in a training the "
                "moments of preconditioned_langevin adapt to the end: set it to false, or sample "
                "with it after a warm-up (`stanley sample`)");
  }
}

void check_for_sampling(const Config& config) {
  const bool adapts = config.sampler.type == TransitionType::preconditioned_langevin;
  if (adapts && config.sampler.metropolis && config.sampling.warm_up == 0) {
    throw Error(
        ExitCode::configuration,
        "sampler.metropolis true is exact with preconditioned_langevin only once its second "
        "moment is frozen, after the warm-up: set sampling.warm_up above 0");
  }
}

}  // namespace stanley
