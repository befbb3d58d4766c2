#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "config/config.hpp"
#include "parallel/session.hpp"
#include "run/activity.hpp"
#include "run/directory.hpp"
#include "run/log.hpp"
#include "run/verdict.hpp"
#include "storage/checkpoint.hpp"

namespace stanley {

/// What a start of a run goes on from.
struct Start {
  std::optional<CheckpointHeader> header;  ///< none: from iteration 0
  bool branch = false;        ///< the header is of another run, given by --resume CHECKPOINT
  bool kept_on_gpu = false;   ///< run.device: auto means the GPU, since the run began on one
  std::uint32_t attempt = 0;  ///< roll-backs so far

  /// Whether the directory holds nothing of the run yet.
  bool anew() const { return !header || branch; }
  Sharding sharding() const { return branch ? Sharding::any : Sharding::same; }
};

/// Collective. Whether the directory's run has all its iterations and `resume` (auto, never or a
/// checkpoint's path) asks for nothing else; says so. Errors: configuration where that run is not
/// the one that is asked for: a sweep that names two runs alike would train but one of them.
bool already_finished(const Config& config, const std::string& resume,
                      const RunDirectory& directory, Session& session, Log& log);

/// Collective, by the directory's owner. Finds what this start goes on from, finishes a roll-back
/// that was cut off, removes unfinished files, and has `auto` in `config` mean what it meant when
/// the run began. Errors: input_output, configuration.
Start find_start(Config& config, const std::string& resume, const RunDirectory& directory,
                 Verdict& verdict, const FileOptions& options, Session& session, Log& log,
                 Activity& activity);

}  // namespace stanley
