#pragma once

#include <string>

namespace stanley {

/// "n01-4711-1b2c3d4e5f607182": host and number of this process, and chance. It ends the names of
/// this process's unfinished files, so that no two writers share one.
std::string process_token();

/// Removes the unfinished files PATH.part.<token> of processes of this host that have ended: they
/// were killed. Those of other hosts, and of the living, stay.
void remove_abandoned(const std::string& path);

}  // namespace stanley
