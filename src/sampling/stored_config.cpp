#include "sampling/stored_config.hpp"

#include <fmt/format.h>

#include <array>

#include "config/error.hpp"

namespace stanley {
namespace {

bool can_be_read(const CheckpointHeader& header, const std::string& text) {
  try {
    parse_stored_config(text, header.path, {});
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// Whether a resumed run may have another value of this key: where and for how long it runs, what
/// it writes and when, how it is watched. The rest makes it another run; a branch may change all
/// but the network.
bool may_change(const std::string& path, bool branch) {
  const auto below = [&](const std::string& section) { return path.starts_with(section + "."); };
  if (path == "energy.path") return true;  // see check_energy_file()
  if (branch) return !below("energy");
  if (below("run")) return path != "run.seed" && path != "run.reproducible";
  if (below("log") || below("samples") || below("checkpoint") || below("guard") ||
      below("watchdog") || below("evaluation")) {
    return true;
  }
  return path == "data.path" || path == "optimizer.schedule.end" || path == "sampling.draws" ||
         path == "sampling.states";
}

}  // namespace

StoredConfig stored_config(const CheckpointHeader& header,
                           const std::vector<std::string>& overrides) {
  const auto text = header.text("config");
  if (!text) {
    throw Error(ExitCode::input_output,
                header.path + " holds no configuration; it was not written by a training");
  }
  try {
    return parse_stored_config(*text, header.path, overrides);
  } catch (const Error& error) {
    const std::string what = error.what();
    // An override may be wrong beside a key of the text, whose place is told.
    if (!what.starts_with(header.path) || (!overrides.empty() && can_be_read(header, *text))) throw;
    throw Error(ExitCode::input_output,
                fmt::format("{}; this release can't read that configuration: use the one that "
                            "wrote it ({})",
                            what, header.text("versions").value_or("unknown")));
  }
}

Config stored_config_of_run(const CheckpointHeader& header) {
  CheckpointHeader of_run{.path = header.path};
  of_run.texts = header.texts;
  if (const auto text = header.text(config_of_run)) of_run.texts["config"] = *text;
  return stored_config(of_run).config;
}

std::vector<std::string> differences(const Config& there, const Config& here, bool branch) {
  std::vector<std::string> found;
  const auto old = key_values(there), now = key_values(here);
  for (std::size_t i = 0; i < now.size(); ++i) {
    if (old[i].second == now[i].second || may_change(now[i].first, branch)) continue;
    found.push_back(
        fmt::format("{} is {} there and {} here", now[i].first, old[i].second, now[i].second));
  }
  return found;
}

std::vector<std::string> keep_resolved(const CheckpointHeader& header, bool branch,
                                       Config& config) {
  std::vector<std::string> changes;
  const auto keep = [&](const char* name, auto& value, const auto automatic, const auto& choices) {
    const std::string before = header.text(name).value_or(to_string(automatic));
    for (const auto choice : choices) {
      if (to_string(choice) != before) continue;
      if (value == automatic) value = choice;
      if (value != choice) {
        changes.push_back(
            fmt::format("{} computed with {} {}, and goes on with {}, as run.{} asks: "
                        "its numbers change with that",
                        header.path, name, before, to_string(value), name));
      }
    }
  };
  keep("precision", config.run.precision, Precision::automatic,
       std::array{Precision::float32, Precision::bfloat16});
  if (!branch) {
    keep("device", config.run.device, DeviceKind::automatic,
         std::array{DeviceKind::cpu, DeviceKind::cuda});
  }
  return changes;
}

void check_energy_file(const CheckpointHeader& header, const Config& config,
                       const std::string& digest) {
  const std::string stored = header.text(energy_digest).value_or("");
  if (stored == digest) return;
  const auto named = [](const std::string& text) { return text.empty() ? "none" : text; };
  throw Error(
      ExitCode::configuration,
      fmt::format("{} was written with another energy: the digest (XXH3) of its TorchScript "
                  "file is {} there and {} here ({}); give the file of that time as "
                  "energy.path, or train the other one from its start with --resume never "
                  "in another directory (--run-directory)",
                  header.path, named(stored), named(digest),
                  config.energy.path.empty() ? "energy.path is not set" : config.energy.path));
}

}  // namespace stanley
