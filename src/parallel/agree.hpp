#pragma once

#include <functional>

#include "parallel/communicator.hpp"

namespace stanley {

/// Collective. Runs `step`, which may fail on one rank alone; if it threw anywhere, all ranks throw
/// the Error of the first failing rank, with its code and message. Other exceptions than Error
/// become one by as_error(). Costs one all-reduce when all is well.
/// `step` itself must not be collective, unless it fails on all ranks together. A communication
/// error is thrown at once, without asking the other ranks: they can't be reached.
void agree(Communicator& communicator, const std::function<void()>& step);

/// Collective. The same for a step of rank 0 alone.
void on_first_rank(Communicator& communicator, const std::function<void()>& step);

}  // namespace stanley
