#pragma once

#include <string>
#include <vector>

namespace stanley {

/// Paths of what is in a folder, in falling order of their names; none if there is no such folder.
/// Error(input_output) if it can't be listed.
std::vector<std::string> files_in(const std::string& folder);

/// True for the names that files have before they are complete: NAME.part, NAME.part.<job>.
bool is_unfinished_name(const std::string& path);

/// One rank. Where the link that a path names points to, through further links; any other path as
/// it is. `latest` of a run at work moves on: who opens a file more than once asks for its name
/// first.
std::string followed(const std::string& path);

/// Brings a folder's names to the disk. Error(input_output).
void synchronise_folder(const std::string& folder);

}  // namespace stanley
