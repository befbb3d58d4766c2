#include "parallel/communicator.hpp"

#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace stanley {
namespace {

class LocalCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void barrier() override {}
  void broadcast(std::span<std::byte>, int) override {}
  void sum(std::span<double>) override {}
  void sum(std::span<float>) override {}
  void sum(std::span<std::int64_t>) override {}
  using Communicator::max;
  void max(std::span<double>) override {}
  std::vector<std::string> all_gather(const std::string& text) override { return {text}; }

  void all_gather(std::span<const float> mine, std::span<float> all,
                  std::span<const int>) override {
    copy(mine, all);
  }

  void all_to_all(std::span<const float> send, std::span<const int>, std::span<float> receive,
                  std::span<const int>, Exchange) override {
    copy(send, receive);
  }

  std::unique_ptr<Communicator> duplicate(Waiting) const override {
    return make_local_communicator();
  }

 private:
  void abort_all(ExitCode) const override {}

  static void copy(std::span<const float> from, std::span<float> to) {
    if (from.size() != to.size()) {
      throw Error(ExitCode::bug, "one rank sends " + std::to_string(from.size()) +
                                     " numbers to itself and expects " + std::to_string(to.size()));
    }
    std::copy(from.begin(), from.end(), to.begin());
  }
};

}  // namespace

std::string Communicator::broadcast(std::string text, int root) {
  std::uint64_t length = text.size();
  broadcast(std::as_writable_bytes(std::span(&length, 1)), root);
  text.resize(length);
  broadcast(std::as_writable_bytes(std::span(text)), root);
  return text;
}

double Communicator::max(double value) {
  max(std::span(&value, 1));
  return value;
}

void Communicator::abort(ExitCode code) const {
  // Not all files: one whose file system is gone would keep this thread, too, for ever.
  std::fflush(stdout);
  std::fflush(stderr);
  abort_all(code);
  std::_Exit(static_cast<int>(code));
}

std::unique_ptr<Communicator> make_local_communicator() {
  return std::make_unique<LocalCommunicator>();
}

void wait_until_read(int descriptor, std::chrono::milliseconds limit) {
  using Clock = std::chrono::steady_clock;
  struct stat status {};
  if (fstat(descriptor, &status) != 0 || !S_ISFIFO(status.st_mode)) return;
  const Clock::time_point end = Clock::now() + limit;
  int unread = 0;
  while (ioctl(descriptor, FIONREAD, &unread) == 0 && unread > 0 && Clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace stanley
