#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <limits>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "parallel/mpi_handle.hpp"

namespace stanley {
namespace {

// MPI counts are ints; longer spans go in pieces of this many elements.
constexpr std::size_t largest_piece = std::size_t{1} << 30;

template <typename Element, typename Function>
void for_each_piece(std::span<Element> values, Function function) {
  for (std::size_t begin = 0; begin < values.size(); begin += largest_piece) {
    const std::size_t count = std::min(largest_piece, values.size() - begin);
    function(values.data() + begin, static_cast<int>(count));
  }
}

bool mpi_is_running() {
  int started = 0;
  int finished = 0;
  MPI_Initialized(&started);
  MPI_Finalized(&finished);
  return started != 0 && finished == 0;
}

/// Where each rank's part begins, as MPI's "v" functions want it. Their sum must be an int.
template <typename Count>
std::vector<int> displacements_of(std::span<const Count> counts) {
  const std::int64_t total = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  if (total > std::numeric_limits<int>::max()) {
    throw Error(ExitCode::bug, "one exchange of " + std::to_string(total) +
                                   " numbers is more than MPI can count; send it in blocks");
  }
  std::vector<int> displacements(counts.size());
  std::exclusive_scan(counts.begin(), counts.end(), displacements.begin(), 0);
  return displacements;
}

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(MPI_Comm source, Waiting waiting) : waiting_(waiting) {
    check_mpi(MPI_Comm_dup(source, &handle_), "MPI_Comm_dup");
    check_mpi(MPI_Comm_set_errhandler(handle_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check_mpi(MPI_Comm_rank(handle_, &rank_), "MPI_Comm_rank");
    check_mpi(MPI_Comm_size(handle_, &size_), "MPI_Comm_size");
  }

  ~MpiCommunicator() override {
    // Freeing is collective: while an exception unwinds one rank, the others may never come.
    if (std::uncaught_exceptions() == 0 && mpi_is_running()) MPI_Comm_free(&handle_);
  }

  MPI_Comm handle() const { return handle_; }
  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void barrier() override {
    if (waiting_ == Waiting::sleep) return wait_for_all();
    check_mpi(MPI_Barrier(handle_), "MPI_Barrier");
  }

  void broadcast(std::span<std::byte> bytes, int root) override {
    wait_for_all();
    for_each_piece(bytes, [&](std::byte* data, int count) {
      check_mpi(MPI_Bcast(data, count, MPI_BYTE, root, handle_), "MPI_Bcast");
    });
  }

  void sum(std::span<double> values) override { all_reduce(values, MPI_DOUBLE, MPI_SUM); }
  void sum(std::span<float> values) override { all_reduce(values, MPI_FLOAT, MPI_SUM); }
  void sum(std::span<std::int64_t> values) override { all_reduce(values, MPI_INT64_T, MPI_SUM); }

  using Communicator::max;
  void max(std::span<double> values) override { all_reduce(values, MPI_DOUBLE, MPI_MAX); }

  std::vector<std::string> all_gather(const std::string& text) override {
    wait_for_all();
    const auto length = static_cast<std::int64_t>(text.size());
    std::vector<std::int64_t> lengths(static_cast<std::size_t>(size_));
    check_mpi(MPI_Allgather(&length, 1, MPI_INT64_T, lengths.data(), 1, MPI_INT64_T, handle_),
              "MPI_Allgather");
    const std::vector<int> begins = displacements_of(std::span<const std::int64_t>(lengths));
    const std::vector<int> counts(lengths.begin(), lengths.end());
    std::string joined(static_cast<std::size_t>(begins.back() + counts.back()), '\0');
    check_mpi(MPI_Allgatherv(text.data(), static_cast<int>(length), MPI_BYTE, joined.data(),
                             counts.data(), begins.data(), MPI_BYTE, handle_),
              "MPI_Allgatherv");
    std::vector<std::string> texts;
    for (std::size_t rank = 0; rank < counts.size(); ++rank) {
      texts.push_back(joined.substr(static_cast<std::size_t>(begins[rank]),
                                    static_cast<std::size_t>(counts[rank])));
    }
    return texts;
  }

  void all_gather(std::span<const float> mine, std::span<float> all,
                  std::span<const int> counts) override {
    wait_for_all();
    const std::vector<int> begins = displacements_of(counts);
    check_mpi(MPI_Allgatherv(mine.data(), static_cast<int>(mine.size()), MPI_FLOAT, all.data(),
                             counts.data(), begins.data(), MPI_FLOAT, handle_),
              "MPI_Allgatherv");
  }

  void all_to_all(std::span<const float> send, std::span<const int> send_counts,
                  std::span<float> receive, std::span<const int> receive_counts,
                  Exchange exchange) override {
    wait_for_all();
    const std::vector<int> send_begins = displacements_of(send_counts);
    const std::vector<int> receive_begins = displacements_of(receive_counts);
    if (exchange == Exchange::at_once) {
      check_mpi(MPI_Alltoallv(send.data(), send_counts.data(), send_begins.data(), MPI_FLOAT,
                              receive.data(), receive_counts.data(), receive_begins.data(),
                              MPI_FLOAT, handle_),
                "MPI_Alltoallv");
      return;
    }
    for (int distance = 0; distance < size_; ++distance) {
      const int to = (rank_ + distance) % size_, from = (rank_ + size_ - distance) % size_;
      const auto sent = static_cast<std::size_t>(to), received = static_cast<std::size_t>(from);
      check_mpi(MPI_Sendrecv(send.data() + send_begins[sent], send_counts[sent], MPI_FLOAT, to, 0,
                             receive.data() + receive_begins[received], receive_counts[received],
                             MPI_FLOAT, from, 0, handle_, MPI_STATUS_IGNORE),
                "MPI_Sendrecv");
    }
  }

  std::unique_ptr<Communicator> duplicate(Waiting waiting) const override {
    return std::make_unique<MpiCommunicator>(handle_, waiting);
  }

 private:
  void abort_all(ExitCode code) const override {
    if (!mpi_is_running()) return;
#ifdef MPICH_NAME
    // Told to end all, MPICH's mpirun may throw away what it hasn't read yet: the sentence that
    // says why.
    for (const int descriptor : {STDOUT_FILENO, STDERR_FILENO}) {
      wait_until_read(descriptor, std::chrono::seconds(2));
    }
    // Silences MPICH and those that descend from it, which write "Abort(5) on node 0" of their own.
    if (const int nowhere = open("/dev/null", O_WRONLY); nowhere >= 0) dup2(nowhere, STDERR_FILENO);
#endif
    MPI_Abort(MPI_COMM_WORLD, static_cast<int>(code));
  }

  template <typename Element>
  void all_reduce(std::span<Element> values, MPI_Datatype type, MPI_Op operation) {
    wait_for_all();
    for_each_piece(values, [&](Element* data, int count) {
      check_mpi(MPI_Allreduce(MPI_IN_PLACE, data, count, type, operation, handle_),
                "MPI_Allreduce");
    });
  }

  /// Sleeps until all ranks are here, if this communicator waits so: what follows is short then.
  void wait_for_all() const {
    if (waiting_ == Waiting::spin) return;
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Ibarrier(handle_, &request), "MPI_Ibarrier");
    for (int arrived = 0;;) {
      check_mpi(MPI_Test(&request, &arrived, MPI_STATUS_IGNORE), "MPI_Test");
      if (arrived != 0) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  MPI_Comm handle_ = MPI_COMM_NULL;
  Waiting waiting_;
  int rank_ = 0;
  int size_ = 1;
};

}  // namespace

MPI_Comm mpi_communicator(const Communicator& communicator) {
  const auto* mpi = dynamic_cast<const MpiCommunicator*>(&communicator);
  return mpi != nullptr ? mpi->handle() : MPI_COMM_NULL;
}

std::unique_ptr<Communicator> make_mpi_communicator(MPI_Comm source) {
  return std::make_unique<MpiCommunicator>(source, Waiting::spin);
}

void check_mpi(int status, const char* call) {
  if (status == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(status, text.data(), &length);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  throw Error(ExitCode::communication,
              std::string(call) + " failed on rank " + std::to_string(rank) + ": " +
                  std::string(text.data(), static_cast<std::size_t>(length)));
}

}  // namespace stanley
