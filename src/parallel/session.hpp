#pragma once

#include <iterator>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "config/error.hpp"
#include "parallel/communicator.hpp"
#include "parallel/launcher.hpp"

namespace stanley {

/// Of this machine.
std::string host_name();

/// The ranks of this run, from start to end. Lives in main(), outside of the try block: main()
/// catches, reports, and calls abort() before the session would end normally.
class Session {
 public:
  /// Collective. Starts MPI (with MPI_THREAD_MULTIPLE) only if a launcher is there; otherwise this
  /// process is the only rank and MPI is never called. Throws Error(ExitCode::environment) if the
  /// launcher didn't connect the ranks; MPI is ended again then, and each rank may exit.
  Session(int& argc, char**& argv);
  /// Collective. Ends MPI; if an exception is passing, all ranks are aborted (ExitCode::bug).
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  Communicator& world() const { return *world_; }
  int rank() const { return world_->rank(); }
  int size() const { return world_->size(); }

  /// This rank among the ranks of its host, and how many they are.
  int local_rank() const { return local_rank_; }
  int local_size() const { return static_cast<int>(neighbours_.size()); }
  /// The host name of each rank, in rank order: for messages, as two hosts may have the same.
  const std::vector<std::string>& hosts() const { return hosts_; }
  /// The ranks of this rank's host, which share its memory, in rank order; this one too.
  const std::vector<int>& neighbours() const { return neighbours_; }

  /// Collective. The numbers or words that each rank of this rank's host gives, in rank order.
  template <typename Value>
  std::vector<std::vector<Value>> gather_on_host(const std::vector<Value>& mine) const {
    std::ostringstream text;
    for (const Value& one : mine) text << one << ' ';
    const std::vector<std::string> all = world_->all_gather(text.str());
    std::vector<std::vector<Value>> lists;
    for (const int rank : neighbours_) {
      std::istringstream words(all[static_cast<std::size_t>(rank)]);
      lists.emplace_back(std::istream_iterator<Value>(words), std::istream_iterator<Value>());
    }
    return lists;
  }

  /// Whether MPI was started; if not, mpi_communicator(world()) is MPI_COMM_NULL.
  bool uses_mpi() const { return launcher_.connects; }
  /// Whether a second thread may use a communicator of its own (MPI_THREAD_MULTIPLE, or no MPI).
  bool threads_may_communicate() const { return threads_may_communicate_; }
  /// "MPI_THREAD_SERIALIZED", ...; empty without MPI.
  const std::string& thread_level() const { return thread_level_; }
  /// For run.json: the MPI library's own words, one line. Empty without MPI.
  const std::string& library_version() const { return library_version_; }

  /// For main(), between catching an error and reporting it: when all ranks fail together, only the
  /// first should speak. Rank 0 goes on at once, the others sleep for 1 to 3 s, or for half a
  /// minute where rank 0 is known to have the error too; if they wake, no lower rank has ended the
  /// run, and theirs is the message.
  void let_lower_ranks_speak(const Error& error) const;

  /// The host of the rank that the error speaks of; this rank's where it names none.
  const std::string& host_of(const Error& error) const;
  /// The message, with rank and host before it where one of several ranks, or its machine, is what
  /// failed.
  std::string describe(const Error& error) const;

  /// Ends all ranks at once with this exit code. Any thread may call it; nothing is unwound.
  [[noreturn]] void abort(ExitCode code) const { world_->abort(code); }

 private:
  void start_mpi(int& argc, char**& argv);
  void find_neighbours();

  Launcher launcher_;
  std::unique_ptr<Communicator> world_;
  std::vector<std::string> hosts_;
  std::vector<int> neighbours_{0};
  int local_rank_ = 0;
  int exceptions_at_start_;
  bool threads_may_communicate_ = true;
  std::string thread_level_, library_version_;
};

}  // namespace stanley
