// A wire between tap devices: hands every Ethernet frame on after a fixed time, and loses some.
// For tests over network namespaces, where the kernel has no netem.
//
//   forwarder LATENCY_SECONDS LOSS DEVICE...
//
// Makes the devices in its own network namespace, says "ready", and forwards until its standard
// input ends. Frames go to the device behind which their receiver was last heard, else to all
// others. LOSS is the probability, from a fixed seed, that a frame is dropped.

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using Address = std::array<unsigned char, 6>;

struct Frame {
  Clock::time_point due;
  std::size_t from;
  std::vector<unsigned char> bytes;
};

int open_tap(const std::string& name) {
  const int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
  if (device < 0 || ioctl(device, TUNSETIFF, &request) < 0) {
    std::perror(("forwarder: " + name).c_str());
    std::exit(3);
  }
  return device;
}

Address address_at(const std::vector<unsigned char>& bytes, std::size_t offset) {
  Address address{};
  std::memcpy(address.data(), bytes.data() + offset, address.size());
  return address;
}

class Wire {
 public:
  Wire(Clock::duration latency, double loss, const std::vector<std::string>& names)
      : latency_(latency), lost_(loss) {
    for (const std::string& name : names) devices_.push_back({open_tap(name), POLLIN, 0});
    devices_.push_back({STDIN_FILENO, POLLIN, 0});
  }

  void forward() {
    while ((devices_.back().revents & (POLLIN | POLLHUP)) == 0) {
      wait();
      for (std::size_t port = 0; port + 1 < devices_.size(); ++port) take_frames(port);
      for (; !queue_.empty() && queue_.front().due <= Clock::now(); queue_.pop_front()) {
        deliver(queue_.front());
      }
    }
  }

 private:
  /// Until a frame comes, one is due, or the input ends.
  void wait() {
    timespec rest{};
    if (!queue_.empty()) {
      const auto nanoseconds = std::max<std::int64_t>(
          0, std::chrono::nanoseconds(queue_.front().due - Clock::now()).count());
      rest = {nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
    }
    ppoll(devices_.data(), devices_.size(), queue_.empty() ? nullptr : &rest, nullptr);
  }

  void take_frames(std::size_t port) {
    std::vector<unsigned char> bytes(65536);
    for (;;) {
      const ssize_t size = read(devices_[port].fd, bytes.data(), bytes.size());
      if (size < 14) return;  // nothing is there
      if (lost_(random_)) continue;
      queue_.push_back({Clock::now() + latency_, port, {bytes.begin(), bytes.begin() + size}});
      behind_[address_at(queue_.back().bytes, 6)] = port;
    }
  }

  void deliver(const Frame& frame) {
    const auto known = behind_.find(address_at(frame.bytes, 0));
    for (std::size_t port = 0; port + 1 < devices_.size(); ++port) {
      if (port == frame.from || (known != behind_.end() && known->second != port)) continue;
      // A full device loses the frame, as wires do; TCP sends it again.
      if (write(devices_[port].fd, frame.bytes.data(), frame.bytes.size()) < 0) continue;
    }
  }

  Clock::duration latency_;
  std::bernoulli_distribution lost_;
  std::mt19937_64 random_;
  std::vector<pollfd> devices_;  // the last is standard input
  std::deque<Frame> queue_;
  std::map<Address, std::size_t> behind_;
};

}  // namespace

int main(int count, char** arguments) {
  if (count < 5) {
    std::fputs("usage: forwarder LATENCY_SECONDS LOSS DEVICE DEVICE...\n", stderr);
    return 2;
  }
  prctl(PR_SET_TIMERSLACK, 1);
  const auto latency = std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(std::atof(arguments[1])));
  Wire wire(latency, std::atof(arguments[2]), {arguments + 3, arguments + count});
  std::puts("ready");
  std::fflush(stdout);
  wire.forward();
  return 0;
}
