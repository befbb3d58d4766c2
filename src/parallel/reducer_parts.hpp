#pragma once

#include <chrono>
#include <memory>
#include <span>

#include "parallel/reducer.hpp"

namespace stanley {

// What make_reducer() chooses from.

/// Host memory through MPI, or alone without it.
std::unique_ptr<Reducer> make_mpi_reducer(Communicator& communicator, Summation summation);
/// Collective. Device memory through NCCL.
std::unique_ptr<Reducer> make_nccl_reducer(Communicator& communicator, Summation summation,
                                           std::chrono::seconds deadline);
/// Device memory, copied to the host and reduced there.
std::unique_ptr<Reducer> make_staged_reducer(Communicator& communicator, Summation summation);

/// total = ((part 0 + part 1) + part 2) + ..., where part p begins at parts[p * total.size()]; zero
/// if there is none. total may be part 0.
void ordered_sum(std::span<const float> parts, std::span<float> total);

}  // namespace stanley
