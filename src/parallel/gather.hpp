#pragma once

#include <vector>

#include "parallel/communicator.hpp"

namespace stanley {

/// Collective. The numbers of all ranks, of however many each has, in the order of the ranks.
std::vector<double> gather_numbers(const std::vector<double>& mine, Communicator& communicator);

}  // namespace stanley
