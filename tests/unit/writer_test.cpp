#include "run/writer.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <string>
#include <thread>

#include "config/error.hpp"

namespace stanley {
namespace {

TEST(Writer, WorksBesideItsCaller) {
  const auto communicator = make_local_communicator();
  Writer writer(*communicator, true);
  std::promise<void> go;
  std::string done;
  writer.submit([&](Communicator& own) {
    go.get_future().wait();
    done = "rank " + std::to_string(own.rank());
  });
  EXPECT_EQ(done, "");  // submit() has returned although the job can't have ended
  go.set_value();
  writer.wait();
  EXPECT_EQ(done, "rank 0");
}

TEST(Writer, HasOneJobInFlight) {
  const auto communicator = make_local_communicator();
  Writer writer(*communicator, true);
  std::string order;
  for (const char* const name : {"a", "b", "c"}) {
    writer.submit([&order, name](Communicator&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      order += name;
    });
  }
  writer.wait();
  EXPECT_EQ(order, "abc");
}

TEST(Writer, WithoutThreadsTheJobIsDoneWhenSubmitReturns) {
  const auto communicator = make_local_communicator();
  Writer writer(*communicator, false);
  bool done = false;
  writer.submit([&](Communicator&) { done = true; });
  EXPECT_TRUE(done);
}

TEST(Writer, WhatAJobThrewIsThrownOnceByTheNextCall) {
  const auto communicator = make_local_communicator();
  Writer writer(*communicator, true);
  writer.submit([](Communicator&) { throw Error(ExitCode::input_output, "the disk is full"); });
  while (!writer.failed()) std::this_thread::yield();
  bool ran = false;
  EXPECT_THROW(writer.submit([&](Communicator&) { ran = true; }), Error);
  EXPECT_FALSE(writer.failed());
  writer.wait();
  EXPECT_FALSE(ran);
}

TEST(Writer, ItsEndWaitsForTheJobInFlight) {
  const auto communicator = make_local_communicator();
  bool done = false;
  {
    Writer writer(*communicator, true);
    writer.submit([&](Communicator&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      done = true;
    });
  }
  EXPECT_TRUE(done);
}

}  // namespace
}  // namespace stanley
