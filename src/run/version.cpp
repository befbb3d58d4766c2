#include "run/version.hpp"

#include "stanley_commit.hpp"  // made by the build

namespace stanley {

const char* const build_version = STANLEY_VERSION;
const char* const build_commit = STANLEY_COMMIT;

}  // namespace stanley
