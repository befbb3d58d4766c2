#include "parallel/bulletin.hpp"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

#include "parallel/mpi_handle.hpp"

namespace stanley {
namespace {

/// The tick of the last note of a rank.
constexpr std::int64_t farewell = -1;
/// What a message is, by its tag.
enum Tag { note_tag, report_tag, progress_tag };

class MpiBulletin final : public Bulletin {
 public:
  explicit MpiBulletin(const Communicator& communicator)
      : communicator_(communicator.duplicate()), handle_(mpi_communicator(*communicator_)) {
    if (communicator_->rank() != 0) return;
    notes_.resize(static_cast<std::size_t>(communicator_->size()));
    progress_.resize(notes_.size());
    telling_.assign(notes_.size(), MPI_REQUEST_NULL);
  }

  void post(const Note& note) override {
    if (communicator_->rank() == 0) {
      notes_[0] = note;
    } else if (sent(request_)) {
      outgoing_ = note;
      check_mpi(MPI_Isend(&outgoing_, sizeof outgoing_, MPI_BYTE, 0, note_tag, handle_, &request_),
                "MPI_Isend");
    }
  }

  void report(const Error& error) override {
    if (communicator_->rank() == 0 || !report_.empty()) return;
    report_ = packed(error);
    check_mpi(MPI_Isend(report_.data(), static_cast<int>(report_.size()), MPI_BYTE, 0, report_tag,
                        handle_, &reporting_),
              "MPI_Isend");
  }

  const std::optional<Error>& reported() override {
    if (communicator_->rank() == 0 && !reported_) receive_report();
    return reported_;
  }

  void tell_all(std::int64_t progress) override {
    told_ = progress;
    for (std::size_t rank = 1; rank < telling_.size(); ++rank) {
      if (!sent(telling_[rank])) continue;
      progress_[rank] = progress;
      check_mpi(MPI_Isend(&progress_[rank], 1, MPI_INT64_T, static_cast<int>(rank), progress_tag,
                          handle_, &telling_[rank]),
                "MPI_Isend");
    }
  }

  std::int64_t told() override {
    while (communicator_->rank() != 0 && waiting(0, progress_tag)) {
      check_mpi(MPI_Recv(&told_, 1, MPI_INT64_T, 0, progress_tag, handle_, MPI_STATUS_IGNORE),
                "MPI_Recv");
    }
    return told_;
  }

  const std::vector<Note>& notes() override {
    if (communicator_->rank() == 0) receive();
    return notes_;
  }

  void close() override {
    if (communicator_->rank() == 0) {
      wait_until([this] {
        receive();
        return closed_ + 1 == communicator_->size();
      });
    } else {
      wait_until([this] { return sent(request_); });
      post({.tick = farewell});
      wait_until([this] { return sent(request_); });
    }
    wait_until([this] {
      told();
      return std::all_of(telling_.begin(), telling_.end(), sent);
    });
    // Others may still have to take what rank 0 told them.
    MPI_Request all = MPI_REQUEST_NULL;
    check_mpi(MPI_Ibarrier(handle_, &all), "MPI_Ibarrier");
    wait_until([&] {
      told();
      return sent(all);
    });
  }

 private:
  template <typename Ready>
  static void wait_until(Ready ready) {
    while (!ready()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  /// Whether the message has left.
  static bool sent(MPI_Request& request) {
    int done = 1;
    if (request != MPI_REQUEST_NULL) {
      check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    }
    return done != 0;
  }

  /// The message that has arrived, if one has.
  std::optional<MPI_Status> waiting(int source, Tag tag) const {
    int there = 0;
    MPI_Status status;
    check_mpi(MPI_Iprobe(source, tag, handle_, &there, &status), "MPI_Iprobe");
    return there != 0 ? std::optional(status) : std::nullopt;
  }

  /// Takes all notes that have arrived.
  void receive() {
    while (const auto status = waiting(MPI_ANY_SOURCE, note_tag)) {
      Note note;
      check_mpi(MPI_Recv(&note, sizeof note, MPI_BYTE, status->MPI_SOURCE, note_tag, handle_,
                         MPI_STATUS_IGNORE),
                "MPI_Recv");
      if (note.tick == farewell) {
        ++closed_;
      } else {
        notes_[static_cast<std::size_t>(status->MPI_SOURCE)] = note;
      }
    }
  }

  void receive_report() {
    const auto status = waiting(MPI_ANY_SOURCE, report_tag);
    if (!status) return;
    int length = 0;
    check_mpi(MPI_Get_count(&*status, MPI_BYTE, &length), "MPI_Get_count");
    std::string text(static_cast<std::size_t>(length), ' ');
    check_mpi(MPI_Recv(text.data(), length, MPI_BYTE, status->MPI_SOURCE, report_tag, handle_,
                       MPI_STATUS_IGNORE),
              "MPI_Recv");
    reported_ = unpacked(text);
    reported_->rank = status->MPI_SOURCE;
  }

  std::unique_ptr<Communicator> communicator_;
  MPI_Comm handle_;
  Note outgoing_;
  MPI_Request request_ = MPI_REQUEST_NULL;
  std::string report_;
  MPI_Request reporting_ = MPI_REQUEST_NULL;
  std::int64_t told_ = 0;
  // Rank 0's.
  std::vector<Note> notes_;
  int closed_ = 0;
  std::optional<Error> reported_;
  std::vector<std::int64_t> progress_;  // on their way to each rank
  std::vector<MPI_Request> telling_;
};

}  // namespace

std::unique_ptr<Bulletin> make_bulletin(const Communicator& communicator) {
  if (mpi_communicator(communicator) == MPI_COMM_NULL) return nullptr;
  return std::make_unique<MpiBulletin>(communicator);
}

}  // namespace stanley
