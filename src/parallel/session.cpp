#include "parallel/session.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <sstream>
#include <thread>

#include "parallel/mpi_handle.hpp"

namespace stanley {

std::string host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

namespace {

std::string name_of_thread_level(int level) {
  if (level == MPI_THREAD_SINGLE) return "MPI_THREAD_SINGLE";
  if (level == MPI_THREAD_FUNNELED) return "MPI_THREAD_FUNNELED";
  if (level == MPI_THREAD_SERIALIZED) return "MPI_THREAD_SERIALIZED";
  return "MPI_THREAD_MULTIPLE";
}

/// The MPI library's words about itself. MPI needn't be started. MPICH has a page on how it was
/// built: the first line names it.
std::string mpi_library_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  check_mpi(MPI_Get_library_version(text.data(), &length), "MPI_Get_library_version");
  const std::string whole(text.data());  // some MPIs count zeros behind it, too
  std::istringstream line(whole.substr(0, whole.find('\n')));
  std::string version;
  for (std::string word; line >> word;) version += (version.empty() ? "" : " ") + word;
  return version;
}

/// As a sentence wants it: "Open MPI v4.1.4", without what follows a comma.
std::string mpi_library_name() {
  const std::string version = mpi_library_version();
  return version.substr(0, version.find(','));
}

}  // namespace

Session::Session(int& argc, char**& argv)
    : launcher_(launcher_from(process_environment())),
      exceptions_at_start_(std::uncaught_exceptions()) {
  // A launcher without a process manager has nothing that MPI_Init could find the others with; it
  // would end the process with a page of its own.
  if (!launcher_.connects) check_launcher(launcher_, 1, mpi_library_name());
  if (launcher_.connects) {
    start_mpi(argc, argv);
  } else {
    world_ = make_local_communicator();
  }
  hosts_ = world_->all_gather(host_name());
}

Session::~Session() {
  if (std::uncaught_exceptions() > exceptions_at_start_) abort(ExitCode::bug);
  world_.reset();
  if (uses_mpi()) MPI_Finalize();
}

void Session::let_lower_ranks_speak(const Error& error) const {
  if (rank() == 0) return;
  // Where rank 0 has it too, it may first wait for a slow disk to take its note of the failure.
  const int tenths = (error.agreed ? 300 : 10) + std::min(rank(), 20);
  std::this_thread::sleep_for(std::chrono::milliseconds(100 * tenths));
}

const std::string& Session::host_of(const Error& error) const {
  return hosts_.at(static_cast<std::size_t>(error.rank < 0 ? rank() : error.rank));
}

std::string Session::describe(const Error& error) const {
  const bool of_a_machine = error.code == ExitCode::environment || error.code == ExitCode::bug;
  if (size() == 1 || !of_a_machine) return error.what();
  return "rank " + std::to_string(error.rank < 0 ? rank() : error.rank) + " on " + host_of(error) +
         ": " + error.what();
}

void Session::start_mpi(int& argc, char**& argv) {
  int level = MPI_THREAD_SINGLE;
  if (MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &level) != MPI_SUCCESS) {
    throw Error(
        ExitCode::environment,
        mpi_library_name() + " could not be started (" + launcher_.evidence +
            "): start with its `mpirun`, or with `srun --mpi=` and what it speaks (pmix, pmi2, "
            "cray_shasta); STANLEY_MPI=no runs one rank without MPI");
  }
  int size = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  try {
    check_launcher(launcher_, size, mpi_library_name());
  } catch (const Error&) {
    MPI_Finalize();
    throw;
  }
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
  world_ = make_mpi_communicator(MPI_COMM_WORLD);
  threads_may_communicate_ = level == MPI_THREAD_MULTIPLE;
  thread_level_ = name_of_thread_level(level);
  library_version_ = mpi_library_version();
  find_neighbours();
}

void Session::find_neighbours() {
  MPI_Comm host = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(mpi_communicator(*world_), MPI_COMM_TYPE_SHARED, world_->rank(),
                                MPI_INFO_NULL, &host),
            "MPI_Comm_split_type");
  check_mpi(MPI_Comm_rank(host, &local_rank_), "MPI_Comm_rank");
  int size = 1;
  check_mpi(MPI_Comm_size(host, &size), "MPI_Comm_size");
  neighbours_.resize(static_cast<std::size_t>(size));
  neighbours_[static_cast<std::size_t>(local_rank_)] = world_->rank();
  check_mpi(MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, neighbours_.data(), 1, MPI_INT, host),
            "MPI_Allgather");
  check_mpi(MPI_Comm_free(&host), "MPI_Comm_free");
}

}  // namespace stanley
