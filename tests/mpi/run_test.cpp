#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "parallel/bulletin.hpp"
#include "run/activity.hpp"
#include "run/watchdog.hpp"
#include "run/writer.hpp"
#include "test_session.hpp"

namespace stanley {
namespace {

using namespace std::chrono_literals;

Communicator& world() { return test_session().world(); }
std::size_t ranks() { return static_cast<std::size_t>(world().size()); }

TEST(Bulletin, Rank0SeesTheNewestNoteOfEachRank) {
  const auto bulletin = make_bulletin(world());
  for (std::int64_t tick = 1; tick <= 20; ++tick) {
    Note note{.tick = tick, .progress = 100 * world().rank() + tick};
    std::strcpy(note.phase.data(), "chains");
    bulletin->post(note);
    std::this_thread::sleep_for(5ms);
    bulletin->notes();
  }
  world().barrier();
  if (world().rank() == 0) {
    const auto& notes = bulletin->notes();
    ASSERT_EQ(notes.size(), ranks());
    for (std::size_t rank = 0; rank < ranks(); ++rank) {
      EXPECT_GT(notes[rank].tick, 0);
      EXPECT_EQ(notes[rank].progress, 100 * static_cast<std::int64_t>(rank) + notes[rank].tick);
      EXPECT_STREQ(notes[rank].phase.data(), "chains");
    }
  }
  bulletin->close();
}

TEST(Bulletin, NobodyWaitsForAnother) {
  if (world().size() == 1) GTEST_SKIP() << "needs two ranks";
  const auto bulletin = make_bulletin(world());
  if (world().rank() != 0) {
    for (std::int64_t tick = 1; tick <= 100000; ++tick) bulletin->post({.tick = tick});
  }
  // Rank 0 has taken nothing yet; were the others held up by that, nobody would come past here.
  world().barrier();
  if (world().rank() == 0) {
    for (std::size_t rank = 1; rank < ranks(); ++rank) {
      while (bulletin->notes()[rank].tick == 0) std::this_thread::sleep_for(1ms);
    }
  }
  world().barrier();
  bulletin->close();
}

TEST(Bulletin, Rank0HearsOfAFailureElsewhere) {
  const auto bulletin = make_bulletin(world());
  const int last = world().size() - 1;
  if (world().rank() == last && last > 0) {
    bulletin->report(Error(ExitCode::environment, "the GPU is gone"));
  }
  if (world().rank() == 0 && last > 0) {
    while (!bulletin->reported()) std::this_thread::sleep_for(1ms);
    EXPECT_EQ(bulletin->reported()->code, ExitCode::environment);
    EXPECT_STREQ(bulletin->reported()->what(), "the GPU is gone");
    EXPECT_EQ(bulletin->reported()->rank, last);
  } else {
    EXPECT_FALSE(bulletin->reported());
  }
  bulletin->close();
}

TEST(Bulletin, AllHearHowFarTheyAreTogether) {
  const auto bulletin = make_bulletin(world());
  if (world().rank() == 0) {
    for (std::int64_t progress = 1; progress <= 100; ++progress) bulletin->tell_all(progress);
  }
  while (bulletin->told() == 0) std::this_thread::sleep_for(1ms);
  EXPECT_LE(bulletin->told(), 100);
  bulletin->close();
}

TEST(Writer, WritesWhileTheRanksTalkToEachOther) {
  if (!test_session().threads_may_communicate()) GTEST_SKIP() << "needs MPI_THREAD_MULTIPLE";
  Writer writer(world(), true);
  for (int job = 0; job < 5; ++job) {
    std::atomic<double> largest = -1;
    writer.submit([&](Communicator& own) {
      for (int i = 0; i < 50; ++i) largest = own.max(static_cast<double>(own.rank() + i));
    });
    for (int i = 0; i < 200; ++i) {
      EXPECT_EQ(world().max(static_cast<double>(world().rank())), world().size() - 1);
    }
    writer.wait();
    EXPECT_EQ(largest, static_cast<double>(world().size() - 1 + 49));
  }
}

TEST(Watchdog, IsQuietWhileThereIsProgress) {
  Activity activity;
  int hangs = 0;
  {
    const Watchdog watchdog(world(), activity, test_session().threads_may_communicate(),
                            {.limit = 200,  // two seconds in which a rank may find no core
                             .tick = 10ms,
                             .hosts = test_session().hosts(),
                             .write_verdict = [&](const Error&) { ++hangs; }});
    for (int i = 0; i < 250; ++i) {
      activity.enter("chains");
      std::this_thread::sleep_for(10ms);
    }
  }
  EXPECT_EQ(hangs, 0);
}

TEST(Watchdog, OneThatWorksForAllIsNoHang) {
  if (!test_session().threads_may_communicate()) GTEST_SKIP() << "needs MPI_THREAD_MULTIPLE";
  Activity activity;
  {
    const Watchdog watchdog(world(), activity, true,
                            {.limit = 40, .tick = 50ms, .hosts = test_session().hosts()});
    // Rank 0 reads a large file, say; the others wait for longer than the limit.
    for (int i = 0; i < 400 && world().rank() == 0; ++i) {
      activity.advance();
      std::this_thread::sleep_for(10ms);
    }
    world().barrier();
  }
}

}  // namespace
}  // namespace stanley
