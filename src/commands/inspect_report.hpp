#pragma once

#include <string>
#include <variant>
#include <vector>

#include "run/inspect_run.hpp"
#include "storage/compare_checkpoints.hpp"
#include "storage/inspection.hpp"

namespace stanley {

/// What `stanley inspect` was asked about.
using Inspected = std::variant<FileReport, RunReport>;

/// A file that can't be trusted, or a run directory, and the first reason.
struct Untrusted {
  std::string path{};
  std::string reason{};
};

std::vector<Untrusted> untrusted(const std::vector<Inspected>& all);

// Text for a terminal, without a last line feed. `configuration`: with the configuration's text.
std::string as_text(const std::vector<Inspected>& all, bool configuration);
std::string as_text(const CheckpointDifference& difference, const std::string& first,
                    const std::string& second);

// One JSON object. Numbers that JSON lacks are the texts "inf", "-inf" and "nan".
std::string as_json(const std::vector<Inspected>& all);
std::string as_json(const CheckpointDifference& difference, const std::string& first,
                    const std::string& second);

}  // namespace stanley
