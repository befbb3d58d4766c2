#include "parallel/bulletin.hpp"

#include <chrono>
#include <thread>

#include "parallel/mpi_handle.hpp"

namespace stanley {
namespace {

class LocalBulletin final : public Bulletin {
 public:
  void post(const Note& note) override { notes_ = {note}; }
  const std::vector<Note>& notes() override { return notes_; }
  void close() override {}

 private:
  std::vector<Note> notes_;
};

/// The tick of the last note of a rank.
constexpr std::int64_t farewell = -1;

class MpiBulletin final : public Bulletin {
 public:
  explicit MpiBulletin(const Communicator& communicator)
      : communicator_(communicator.duplicate()), handle_(mpi_communicator(*communicator_)) {
    if (communicator_->rank() == 0) notes_.resize(static_cast<std::size_t>(communicator_->size()));
  }

  void post(const Note& note) override {
    if (communicator_->rank() == 0) {
      notes_[0] = note;
    } else if (sent()) {
      outgoing_ = note;
      check_mpi(MPI_Isend(&outgoing_, sizeof outgoing_, MPI_BYTE, 0, 0, handle_, &request_),
                "MPI_Isend");
    }
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
      wait_until([this] { return sent(); });
      post({.tick = farewell});
      wait_until([this] { return sent(); });
    }
    communicator_->barrier();
  }

 private:
  template <typename Ready>
  static void wait_until(Ready ready) {
    while (!ready()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  /// Whether the note before has left.
  bool sent() {
    int done = 1;
    if (request_ != MPI_REQUEST_NULL) {
      check_mpi(MPI_Test(&request_, &done, MPI_STATUS_IGNORE), "MPI_Test");
    }
    return done != 0;
  }

  /// Takes all notes that have arrived.
  void receive() {
    for (;;) {
      int waiting = 0;
      MPI_Status status;
      check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, 0, handle_, &waiting, &status), "MPI_Iprobe");
      if (waiting == 0) return;
      Note note;
      check_mpi(
          MPI_Recv(&note, sizeof note, MPI_BYTE, status.MPI_SOURCE, 0, handle_, MPI_STATUS_IGNORE),
          "MPI_Recv");
      if (note.tick == farewell) {
        ++closed_;
      } else {
        notes_[static_cast<std::size_t>(status.MPI_SOURCE)] = note;
      }
    }
  }

  std::unique_ptr<Communicator> communicator_;
  MPI_Comm handle_;
  Note outgoing_;
  MPI_Request request_ = MPI_REQUEST_NULL;
  std::vector<Note> notes_;
  int closed_ = 0;
};

}  // namespace

std::unique_ptr<Bulletin> make_bulletin(const Communicator& communicator) {
  if (mpi_communicator(communicator) == MPI_COMM_NULL) return std::make_unique<LocalBulletin>();
  return std::make_unique<MpiBulletin>(communicator);
}

}  // namespace stanley
