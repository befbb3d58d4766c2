#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/checks.hpp"
#include "config/config.hpp"
#include "config/document.hpp"
#include "config/error.hpp"
#include "config/keys.hpp"
#include "config/paths.hpp"
#include "config/problems.hpp"
#include "config/reader.hpp"

namespace stanley {

namespace {

/// Reads the text alone; the overrides come later.
Value document_of(const std::string& text, Problems& problems) {
  std::optional<Value> document = read_document(text, problems);
  if (!document) {
    problems.throw_if_any();
  }
  return *std::move(document);
}

Config read_config(Value document, const std::vector<std::string>& overrides, Problems& problems) {
  apply_overrides(document, overrides, problems);
  Config config;
  read_keys(document, describe(config), problems);
  // Noise has a default, but whoever gives the temperature alone means that.
  if (config.sampler.temperature && document.descendant("sampler.noise") == nullptr) {
    config.sampler.noise.reset();
  }
  check_relations(config, document, problems);
  problems.throw_if_any();
  return config;
}

}  // namespace

Config parse_config(const std::string& text, const std::string& name,
                    const std::vector<std::string>& overrides) {
  Problems problems(name, overrides);
  return read_config(document_of(text, problems), overrides, problems);
}

StoredConfig parse_stored_config(const std::string& text, const std::string& name,
                                 const std::vector<std::string>& overrides) {
  Problems problems(name, overrides);
  Value document = document_of(text, problems);
  Config names;
  StoredConfig stored;
  stored.unknown = remove_unknown_keys(document, describe(names));
  stored.config = read_config(std::move(document), overrides, problems);
  return stored;
}

Config load_config(const std::string& path, const std::vector<std::string>& overrides) {
  std::ifstream file(path, std::ios::binary);
  // Opening a folder succeeds: only reading from it fails.
  const bool readable = file && (file.peek() != std::ifstream::traits_type::eof() || file.eof());
  if (!readable) {
    const int reason = errno;
    throw Error(
        ExitCode::configuration,
        path + ": expected a configuration file that can be read: " + std::strerror(reason));
  }
  file.clear();
  std::string text(largest_text + 1, ' ');  // one more than a configuration may have
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  Config config = parse_config(text, path, overrides);
  expand_paths(config);
  return config;
}

void check_for_training(const Config& config) {
  if (config.chains.start == StartType::bank) {
    throw Error(ExitCode::configuration,
                "chains.start: bank means the chains of a checkpoint, which `stanley sample` goes "
                "on with: for training choose uniform, normal, data or data_gaussian");
  }
  if (config.evaluation.every) {
    throw Error(ExitCode::configuration,
                "evaluation.every is not part of this release: set it to null");
  }
}

}  // namespace stanley
