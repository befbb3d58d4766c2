#include "parallel/last_words.hpp"

#include <sys/ioctl.h>
#include <sys/stat.h>

#include <thread>

namespace stanley {

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
