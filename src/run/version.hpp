#pragma once

namespace stanley {

// What this binary was built from; "unknown" where there was no git.
extern const char* const build_version;
extern const char* const build_commit;

}  // namespace stanley
