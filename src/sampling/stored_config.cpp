#include "sampling/stored_config.hpp"

#include <fmt/format.h>

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
