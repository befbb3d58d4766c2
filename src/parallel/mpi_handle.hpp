#pragma once

// The C interface alone: the old C++ bindings don't compile without warnings.
#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1
#endif
#ifndef MPICH_SKIP_MPICXX
#define MPICH_SKIP_MPICXX 1
#endif
#include <mpi.h>

#include <memory>

#include "parallel/communicator.hpp"

namespace stanley {

/// The MPI communicator behind `communicator`, for libraries that take one (parallel HDF5).
/// MPI_COMM_NULL for the local communicator: MPI may not even be started then.
MPI_Comm mpi_communicator(const Communicator& communicator);

/// Collective over `source`. A duplicate of it; MPI must be started and must outlive the result.
std::unique_ptr<Communicator> make_mpi_communicator(MPI_Comm source);

/// Throws Error(ExitCode::communication) with MPI's own text unless `status` is MPI_SUCCESS.
void check_mpi(int status, const char* call);

}  // namespace stanley
