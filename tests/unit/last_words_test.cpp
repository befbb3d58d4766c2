#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <string>
#include <thread>

#include "parallel/communicator.hpp"

namespace stanley {
namespace {

struct Pipe {
  std::array<int, 2> ends{};

  Pipe() { EXPECT_EQ(pipe(ends.data()), 0); }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    close(ends[0]);
    close(ends[1]);
  }

  void write_word() const { ASSERT_EQ(write(ends[1], "words", 5), 5); }
};

TEST(LastWords, AreWaitedForUntilTheyAreRead) {
  const Pipe pipe;
  pipe.write_word();
  const std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  std::thread reader([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    std::string word(5, ' ');
    EXPECT_EQ(read(pipe.ends[0], word.data(), word.size()), 5);
  });
  wait_until_read(pipe.ends[1], std::chrono::hours(1));
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(100));
  reader.join();
}

TEST(LastWords, AreWaitedForNoLongerThanTheLimit) {
  const Pipe pipe;
  pipe.write_word();
  const std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  wait_until_read(pipe.ends[1], std::chrono::milliseconds(50));
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(50));
}

TEST(LastWords, WhatIsReadOrNoPipeIsNotWaitedFor) {
  const Pipe pipe;
  wait_until_read(pipe.ends[1], std::chrono::hours(1));
  wait_until_read(-1, std::chrono::hours(1));
  const int memory = memfd_create("a file", 0);
  ASSERT_EQ(write(memory, "words", 5), 5);
  ASSERT_EQ(lseek(memory, 0, SEEK_SET), 0);
  wait_until_read(memory, std::chrono::hours(1));
  close(memory);
}

}  // namespace
}  // namespace stanley
