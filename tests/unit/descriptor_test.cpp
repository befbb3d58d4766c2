#include "storage/descriptor.hpp"

#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <thread>

namespace stanley {
namespace {

TEST(Descriptor, AFullDiskIsToldWithWhatHelps) {
  const Descriptor full("/dev/full", O_WRONLY);
  EXPECT_EQ(write_whole(full.number(), "text"), ENOSPC);
  EXPECT_EQ(system_reason(ENOSPC), "No space left on device; free some space");
  EXPECT_EQ(system_reason(EDQUOT), "Disk quota exceeded; free some space");
  EXPECT_EQ(system_reason(EIO), "Input/output error");
}

TEST(Descriptor, AFileWithoutADiskIsSynchronised) {
  const Descriptor null("/dev/null", O_WRONLY);
  EXPECT_EQ(synchronise(null.number()), 0);
  EXPECT_EQ(synchronise(-1), EBADF);
}

/// A signal that interrupts what the thread waits for, as a timer's may.
void interrupted_by(int number) {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  sigaction(number, &action, nullptr);
}

TEST(Descriptor, WritesAllHoweverOftenItIsInterrupted) {
  struct sigaction before {};
  sigaction(SIGURG, nullptr, &before);
  interrupted_by(SIGURG);
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  std::string text;
  for (int i = 0; i < 100000; ++i) text += std::to_string(i) + ',';
  std::string read;
  const pthread_t writer = pthread_self();
  std::thread reader([&] {
    std::array<char, 20000> part;
    ssize_t count = 0;
    while ((count = ::read(ends[0], part.data(), part.size())) > 0) {
      read.append(part.data(), static_cast<std::size_t>(count));
      pthread_kill(writer, SIGURG);
    }
  });
  EXPECT_EQ(write_whole(ends[1], text), 0);
  ::close(ends[1]);
  reader.join();
  ::close(ends[0]);
  sigaction(SIGURG, &before, nullptr);
  EXPECT_TRUE(read == text) << read.size() << " of " << text.size() << " bytes";
}

}  // namespace
}  // namespace stanley
