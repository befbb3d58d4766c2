#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "run/directory.hpp"

namespace stanley {

/// What an owner file says, and what its file system says of it.
struct Owner {
  std::string token;  ///< no two owners have the same
  std::string host, process_start, job, cluster;
  /// The host's kernel since it started, and the process numbers that are seen there (a container
  /// has its own): what two hosts of one name don't share. Empty in files of older releases.
  std::string boot, process_namespace;
  std::int64_t process = 0, restart_count = 0;
  double heartbeat = 0;  ///< when the file was last touched, in s, by the clock of its server
  bool by_this_user = false;
  int error = 0;  ///< why the file can't be read
};

/// This process, with a new token.
Owner this_process(const Claim& claim);

/// The text of the owner file.
std::string to_text(const Owner& owner);

/// What the file says, or nothing if there is none; one that is broken names nobody.
std::optional<Owner> read_owner(const std::string& path);

/// A heartbeat: touches the owner file if it is the one with this token, and no other file.
void touch_owner(const std::string& path, const std::string& token);

/// Whether the owner's process can be seen from here, if it lives.
bool in_sight(const Owner& owner);

/// Whether the owner has surely ended, seen from `claim` at `now` (a time of the clock that
/// Owner::heartbeat is read from): its process is gone (where it can be seen from here), its
/// heartbeat is stale, it is an earlier start of the claimant's own job, or Slurm says that its job
/// has ended. A process that is seen to live is an owner, however long it has been stopped.
bool dead(const Owner& owner, const Claim& claim, double now);

/// The first two of these, which need nobody to be asked.
bool gone(const Owner& owner, const Claim& claim, double now);

}  // namespace stanley
