#include "parallel/reducer.hpp"

#include "parallel/reducer_parts.hpp"

namespace stanley {

std::unique_ptr<Reducer> make_reducer(Communicator& communicator, Transport transport,
                                      Summation summation, std::chrono::seconds deadline) {
  switch (transport) {
    case Transport::nccl:
      return make_nccl_reducer(communicator, summation, deadline);
    case Transport::mpi_from_device:
      return make_staged_reducer(communicator, summation);
    case Transport::mpi:
      break;
  }
  return make_mpi_reducer(communicator, summation);
}

}  // namespace stanley
