#pragma once

#include <string>
#include <vector>

#include "parallel/communicator.hpp"
#include "storage/array.hpp"

namespace stanley {

/// Collective. Throws Error(environment) on all ranks, naming an array, the first rank that holds
/// another one than rank 0, and both hosts, unless the replicated arrays are bitwise the same on
/// all ranks: each rank updates its own copy, and a processor, a library or a memory that computes
/// otherwise would go unnoticed. Costs one small exchange where all is well.
void check_replicas(Communicator& communicator, const std::vector<std::string>& hosts,
                    const std::vector<ArrayView>& arrays);

}  // namespace stanley
